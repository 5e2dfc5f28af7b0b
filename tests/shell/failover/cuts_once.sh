# limit: 240
# bounds no time
# A server whose names are made anew applies all entries again, and is the last copy of its pair. A cut that it has carried
# out in an earlier life is not carried out again: what was written behind it is there, and stays there on its mirror.
cluster_up
file=$(on_pair 1 cut)
need test -n "$file"
need cp /proc/self/exe "$file"
need sync "$file"
need truncate -s 0 "$file"
need sync "$file"
written=$(head -c 300000 /dev/urandom | tee "$file" | sha256sum)
need sync "$file"
sum() { echo 3 > /proc/sys/vm/drop_caches; sha256sum < "$file"; }
is_cut() { [ -s "$DIR/data/fsd1/cuts" ]; }
need wait_until 20 is_cut
# Another life: it knows the cut by its record only.
need r stop fsd1
back fsd1
need wait_healthy 60
need r stop fsd2
need wait_until 20 copy_is fsd2 stale
echo more >> "$file.more"
need sync "$file.more"
need r stop fsd1
need mv "$DIR/data/fsd1/names" "$CASE_DIR/names"
need mkdir "$DIR/data/fsd1/names"
back fsd1
check "the last copy comes back with names made anew" wait_until 60 copy_is fsd1 "in sync"
refuse "while its mirror is away" copy_is fsd2 "in sync"
check "they are all there" wait_until 20 test -e "$file"
same "what was written behind the cut is there" "$written" "$(sum)"
back fsd2
check "its mirror is made equal" wait_healthy 60
same "and it is there still" "$written" "$(sum)"
need r stop fsd1
same "on the mirror, too" "$written" "$(sum)"
back fsd1
need wait_healthy 60
check "verify finds nothing wrong" verify
