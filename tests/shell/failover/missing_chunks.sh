# limit: 240
# bounds no time
# Files of chunks are gone from a server's disk, as after a check of its file system, or by somebody's hand: nobody reads zeros
# for them, and what is written then makes none.
cluster_up
fill() { local n; for n in $(seq 1 16); do head -c $((n * 3000)) /dev/urandom > "$MNT/$n"; done; need sync "$MNT"/*; }
right() { echo 3 > /proc/sys/vm/drop_caches; (cd "$MNT" && sha256sum --quiet -c "$CASE_DIR/sums"); }
of_pair_0() { local f; for f in "$MNT"/*; do holders_of "$f" | grep -q fsd1 && echo "$f"; done; }
# Both have everything, and know it: nothing would be copied because it was changed lately.
settled() { need r stop fsd2; back fsd2; need wait_healthy 30; }
lose() { local f; for f in "${files[@]}"; do need rm -f "$(chunk_file "$1" "$f")"; done; }
missing() { local f n=0; for f in "${files[@]}"; do [ -e "$(chunk_file fsd1 "$f")" ] || n=$((n + 1)); done; echo $n; }

fill
sums "$MNT" > "$CASE_DIR/sums"
mapfile -t files < <(of_pair_0)
need test ${#files[@]} -ge 6
# A server that has none at all any more does not start.
unset 'files[0]'

settled
need r stop fsd1; lose fsd1; back fsd1
need wait_healthy 60
check "gone while the server was stopped: it counts them, and they are copied back" wait_until 20 test "$(missing)" = 0
check "every byte is right" right

settled
crash fsd1; lose fsd1; back fsd1
need wait_healthy 60
within "gone while the server was dead: nobody has noticed" 1 ${#files[@]} "$(missing)"
check "until they are read: every byte is right" right
check "and again" right

settled
crash fsd1; lose fsd1; back fsd1
need wait_healthy 60
within "gone once more" 1 ${#files[@]} "$(missing)"
for f in "$MNT"/*; do echo "more, $f" >> "$f"; done
need sync "$MNT"/*
# What was there before the append.
before() { local n; for n in $(seq 1 16); do head -c $((n * 3000)) "$MNT/$n" | sha256sum | cut -d' ' -f1; done | sort; }
expected=$(cut -d' ' -f1 "$CASE_DIR/sums" | sort)
echo 3 > /proc/sys/vm/drop_caches
same "appended to: what was there before is there" "$expected" "$(before)"
need wait_healthy 60
crash fsd2
same "also on the server that had lost it, alone" "$expected" "$(before)"
back fsd2
need wait_healthy 60
check "verify finds nothing wrong" verify
