# What is too long, too deep or too large is refused with the right error, and what just fits is taken.
of() { head -c "$1" /dev/zero | tr '\0' x; } # LENGTH
check "a name of 255 bytes" touch "$(of 255)"
for call in touch mkdir "ln -s t" "stat" "rmdir" "mv $(of 255)"; do
  # shellcheck disable=SC2086
  fails_with "one of 256: ${call%% *}" "File name too long" $call "$(of 256)"
done
need mkdir deep
check "a link of 4095 bytes" ln -s "$(of 4095)" link
same "comes back whole" 4095 "$(readlink link | tr -d '\n' | wc -c)"
fails_with "one of 4096" "File name too long" ln -s "$(of 4096)" longer
fails_with "it leads nowhere" "File name too long" cat link
fails_with "a path of more than 4096 bytes" "File name too long" cat "$(for i in $(seq 2100); do printf ./; done)f"
# Deeper than any path: by steps.
(for i in $(seq 30); do need mkdir "$(of 200)" && cd "$(of 200)" || exit 1; done; echo deep > f && cat f) > out 2>&1
same "a file below 6000 bytes of directories" deep "$(cat out)"
check "is found and goes away" rm -r "$(of 200)"
ln -s a b; ln -s b a
fails_with "links in a circle" "Too many levels of symbolic links" cat a
need sh -c 'echo x > l0'; for i in $(seq 40); do ln -s "l$((i - 1))" "l$i"; done
check "40 links one behind the other" cat l40
ln -s l40 l41
fails_with "41 are too many" "Too many levels of symbolic links" cat l41
(ulimit -f 8; trap '' XFSZ; head -c 20000 /dev/zero > limited) 2> out
same "a write stops at RLIMIT_FSIZE (8 KiB)" 8192 "$(stat -c %s limited)"
check "with the right error" grep -q "File too large" out
(ulimit -f 8; trap '' XFSZ; truncate -s 9000 cut) 2> out
check "so does truncate" grep -q "File too large" out
(ulimit -f 8; trap '' XFSZ; fallocate -l 9000 reserved) 2> out
check "and fallocate" grep -q "File too large" out
same "whoever does not expect it gets SIGXFSZ" $((128 + 25)) "$(bash -c 'ulimit -f 8; head -c 20000 /dev/zero > killed; echo $?' 2> /dev/null)"
fails_with "a file beyond what an offset can say" "File too large|Invalid argument" truncate -s 9223372036854775807 huge
check "a write across the largest size ends there, and one behind it is refused" probe largest largest
