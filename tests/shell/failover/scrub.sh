# limit: 240
# Bits that flip in chunk files, under a running server and in one that does not run, are found by a scrub and mended; what
# has rotted on both servers is said, spreads nowhere, and costs no other file.
source "$LIB/watch.sh"
cluster_up
for n in $(seq 1 16); do head -c 60000 /dev/urandom > "$MNT/f$n"; done
mkdir "$MNT/dir"; head -c 9000000 /dev/urandom > "$MNT/dir/large"
need sync "$MNT"/f* "$MNT/dir/large"
sums "$MNT" > "$CASE_DIR/sums"
right() { echo 3 > /proc/sys/vm/drop_caches; (cd "$MNT" && sha256sum --quiet -c "$CASE_DIR/sums"); }
scrub() { r scrub > "$CASE_DIR/said" 2> "$CASE_DIR/said.err"; echo $?; }
said() { says "$1" "$2" cat "$CASE_DIR/said"; }

mapfile -t first < <(for n in $(seq 1 16); do holders_of "$MNT/f$n" | grep -q fsd1 && echo "$MNT/f$n"; done)
mapfile -t second < <(for n in $(seq 1 16); do holders_of "$MNT/f$n" | grep -q fsd4 && echo "$MNT/f$n"; done)
need test ${#first[@]} -ge 6
need test ${#second[@]} -ge 3

same "a sound store is whole" 0 "$(scrub)"
said "each server says so" "ok     fsd4: .*nothing is damaged"
said "and so does the last line" "^everything is whole"

# A mirror that returns is compared where there are notes: without them only a scrub looks at its chunks.
notes() { find "$DIR/data/fsd4/notes" -type f -printf '%f\n' | sort -n; }
newest=$(notes | tail -n 1)
settled() { [ "$((10#$(notes | head -n 1)))" -gt "$((10#$newest))" ]; }
need wait_until 60 settled
need r stop fsd4
flip fsd4 "${second[0]}" 10
flip fsd4 "${second[1]}" $((4194304 + 64))
back fsd4
need wait_healthy 60
flip fsd1 "${first[0]}" 100
flip fsd1 "${first[1]}" 50000
flip fsd1 "${first[1]}" 100
flip fsd1 "${first[2]}" $((4194304 + 64 + 4))
flip fsd1 "${first[3]}" $((4194304 + 28))
# In different blocks of both servers' copies.
flip fsd1 "${first[4]}" 10
flip fsd2 "${first[4]}" 20000

watch
same "all of it is mended, with the store in use" 0 "$(scrub)"
cat "$CASE_DIR/said"
watched "bits have flipped, and are mended" 1500
said "what it mended on fsd1" "^MENDED fsd1: .* 5 chunks were damaged, all mended"
said "on fsd2" "^MENDED fsd2: .* 1 chunk was damaged, all mended"
said "on fsd4, where it rotted while that did not run" "^MENDED fsd4: .* 2 chunks were damaged, all mended"
said "and that fsd3 was well" "^ok     fsd3"
says "status says so" "scrub: +fsd4: last checked at .* 2 chunks were damaged, all mended" r status
same "status --json, too" 5 "$(json /servers/0/scrub/last/chunks_mended)"
same "a line of the log for each chunk" 5 "$(grep -c 'were damaged, and are mended' "$DIR/log/fsd1.log")"
check "every file is right" right
check "verify finds nothing wrong" verify
same "another pass finds nothing" 0 "$(scrub)"
said "on any server" "^ok     fsd1: .*nothing is damaged"

# The same block of both.
lost=${first[5]}
for server in fsd1 fsd2; do flip "$server" "$lost" 5000; done
flip fsd1 "$lost" 30000
flip fsd1 "${first[0]}" 100
same "what is damaged on both cannot be mended" 1 "$(scrub)"
cat "$CASE_DIR/said"
said "the file is named" "^LOST   /$(basename "$lost"): .* on fsd1 and fsd2"
said "the rest is mended" "^BAD    fsd1: .* 2 chunks were damaged, 1 mended from the mirror, 1 not"
says "status knows" "degraded: .*fsd1 holds 1 chunk .*damaged on its mirror, too" r status
echo 3 > /proc/sys/vm/drop_caches
refuse "its bytes are not made up" cat "$lost"
check "what is not damaged of it is served" cmp -n 4096 "$lost" <(head -c 4096 "$lost")
grep -v " ./$(basename "$lost")$" "$CASE_DIR/sums" > "$CASE_DIR/others"; need mv "$CASE_DIR/others" "$CASE_DIR/sums"
check "all other files are" right
need cp "${first[0]}" "$lost"
need sync "$lost"
same "written anew all is whole" 0 "$(scrub)"
check "and healthy" wait_healthy 10
check "verify agrees" verify

crash fsd2
need wait_until 10 not copy_is fsd2 "in sync"
same "with a server away the others are checked, and that is said" 2 "$(scrub)"
said "who was not checked" "NOT   fsd2: not checked"
said "its mirror, which has nobody to mend from" "NOT   fsd1: not checked, as the copies"
said "who was" "ok     fsd3: "

# In a hole behind the end of a file, of whose chunk the mirror that was away has an older copy.
hollow=${first[1]}
need dd if="$hollow" of="$CASE_DIR/head" bs=4096 count=1 status=none
need dd if="$CASE_DIR/head" of="$hollow" bs=4096 conv=notrunc,fsync status=none
flip fsd1 "$hollow" 100000
back fsd2
need wait_healthy 60
same "what has rotted in a hole of the only copy is a hole again" 0 "$(scrub)"
check "and every other file is right" right
check "verify finds nothing wrong" verify
