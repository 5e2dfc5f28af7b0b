# limit: 240
# bounds no time
# What is done to a server's chunks while it does not run is found out and mended from its mirror, though it is the one that
# stopped last: its copy is the one that counts.
cluster_up
fill() { local n; for n in $(seq 1 16); do head -c 60000 /dev/urandom > "$MNT/$1$n"; done; need sync "$MNT/$1"*; }
right() { echo 3 > /proc/sys/vm/drop_caches; (cd "$MNT" && sha256sum --quiet -c "$CASE_DIR/sums"); }
anew() { "$BIN/raidfs" up --dir "$DIR" --mount "$MNT"; }
of_pair_0() { local f; for f in "$MNT/$1"*; do holders_of "$f" | grep -q fsd2 && basename "$f"; done; }

# down_after_fsd1: fsd2 is the last of its pair to stop, so that its copy is the one that counts.
down_after_fsd1() { need r stop mountd; need r stop fsd1; need r down; }

# Nothing has made sure since the writes that both have everything, but the stop.
fill a
sums "$MNT" > "$CASE_DIR/sums"
mapfile -t files < <(of_pair_0 a)
need test ${#files[@]} -ge 6
declare -A chunk
for f in "${files[@]}"; do chunk[$f]=$(chunk_file fsd2 "$MNT/$f"); done
down_after_fsd1
flip_in "${chunk[${files[0]}]}" 5000
flip_in "${chunk[${files[1]}]}" $((4194304 + 28))
need truncate -s 0 "${chunk[${files[2]}]}"
need truncate -s 50000 "${chunk[${files[3]}]}"
need rm "${chunk[${files[4]}]}"
need anew
need wait_healthy 60
check "a scrub finds it" r scrub
check "every byte is right" right
check "and verify finds nothing wrong" verify
grep -h "summed anew\|never synced" "$DIR"/log/fsd*.log > "$CASE_DIR/anew.log"
same "nothing was taken for what was never synced" 0 "$(wc -l < "$CASE_DIR/anew.log")"

down_after_fsd1
need mv "$DIR/data/fsd2/chunks" "$CASE_DIR/aside"
need mkdir "$DIR/data/fsd2/chunks"
refuse "a server whose chunks are all gone does not start" r start fsd2
check "and says so" grep -q "there were .* when fsd2 stopped" "$DIR/log/fsd2.log"
need rmdir "$DIR/data/fsd2/chunks"
need mv "$CASE_DIR/aside" "$DIR/data/fsd2/chunks"
need anew
need wait_healthy 60
check "with them it does" right

# Killed, a server may have half changed a block; what its mirror has as its sum says was not half changed.
fill b
sums "$MNT" > "$CASE_DIR/sums"
mapfile -t files < <(of_pair_0 b)
need test ${#files[@]} -ge 2
need r stop fsd1
need crash fsd2
flip fsd2 "$MNT/${files[0]}" 9000
back fsd2 fsd1
need wait_healthy 60
check "a scrub finds that, too" r scrub
check "so it is with a server that was killed" right
check "verify finds nothing wrong" verify
