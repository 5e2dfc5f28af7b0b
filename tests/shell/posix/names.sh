# File names: any bytes but / and NUL, up to 255 of them.
for name in ' ' '-' '*' $'new\nline' $'\xff\xfe' 'ü' '..x' '"'; do
  check "a file is called $(printf %q "$name")" sh -c 'echo x > "./$1" && test "$(cat "./$1")" = x' - "$name"
done
same "all are listed" 8 "$(find . -mindepth 1 -printf x | wc -c)"
long=$(printf 'n%.0s' $(seq 1 255))
check "255 bytes" touch "$long"
fails_with "256 are too many" "too long" touch "${long}n"
deep=.; for i in $(seq 1 60); do deep=$deep/directory$i; done
check "a deep path" mkdir -p "$deep"
check "is found" test -d "$deep"
