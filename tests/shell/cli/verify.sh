# limit: 240
# verify finds nothing in a sound store, and in a damaged one each kind of damage to its chunks, under running servers.
cluster_up
for i in $(seq 1 20); do head -c 50000 /dev/urandom > "$MNT/f$i"; done
head -c 9000000 /dev/urandom > "$MNT/large"
need sync "$MNT"/*
check "a sound store" verify
hang fsd4
fails_with "a server that does not answer is reported" "WRONG +fsd4 does not answer" verify
resume fsd4
need wait_healthy 60

# A copy that is behind: with its mirror dead it stays so.
held=$(on_pair 2 held); need test -n "$held"
crash fsd4
echo missed > "$held"; need sync "$held"
crash fsd3
back fsd4
need wait_until 20 copy_is fsd4 stale
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "a copy that is not in sync fails" 1 $code
check "it is reported" grep -qx "WRONG  fsd4's copy is stale; it was not compared" "$CASE_DIR/said"
crash fsd1 witness
need wait_until 20 not has_leader
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "so does a store that nobody leads" 1 $code
check "it is said, too" grep -qx "WRONG  nobody leads: too few servers answer each other" "$CASE_DIR/said"
for name in fsd1 fsd3 witness; do
  check "and who is missing: $name" grep -qx "WRONG  $name does not answer; what it has is not verified" "$CASE_DIR/said"
done
back fsd1 fsd3 witness
need wait_healthy 60
check "all of them back, it is sound again" verify

# Chunk files are as large as a whole chunk and its footer, sparse.
mapfile -t files < <(find "$DIR/data/fsd1/chunks" -type f -size +4M | sort)
need test ${#files[@]} -ge 8
chunk_of() { printf '%x.0' $((16#$(basename "$1"))); }
path_of() { find "$MNT" -inum $((16#$(basename "$1"))) -printf '/%P\n' -quit; }
keep() { need cp --sparse=always "$1" "$CASE_DIR/saved-$2"; need ln "$1" "$CASE_DIR/same-$2"; }
# The same file again, as the server may have it open; whole, as what was written over a hole must go, too.
put_back() {
  need ln -f "$CASE_DIR/same-$2" "$1"
  need truncate -s 0 "$1"
  need dd if="$CASE_DIR/saved-$2" of="$1" bs=1M conv=sparse status=none
  need truncate -s "$(stat -c %s "$CASE_DIR/saved-$2")" "$1"
}
flip_at() { need dd of="$2" bs=1 seek="$1" conv=notrunc status=none <<< $'\xa5\x5a'; }
reported() { says "$1 is reported" "WRONG  chunk $(chunk_of "$2") on fsd1 and fsd2: $3" cat "$CASE_DIR/said"; }

for n in 0 1 2 3 4 5; do keep "${files[n]}" $n; done
flip_at 100 "${files[0]}"
flip_at $((4194304 + 64)) "${files[1]}"
flip_at $((4194304 + 20)) "${files[2]}"
need truncate -s 4000000 "${files[3]}"
need rm "${files[4]}"
# A copy that is whole in itself, but an older one.
victim=$(find "$MNT" -inum $((16#$(basename "${files[5]}"))))
need test -n "$victim"
need dd of="$victim" bs=1 conv=notrunc,fsync status=none <<< "new bytes"
need cp --sparse=always "${files[5]}" "$CASE_DIR/newer"
put_back "${files[5]}" 5
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "a damaged store fails" 1 $code
reported "a flipped byte" "${files[0]}" "1 block does not match its checksum on fsd1 .of $(path_of "${files[0]}")."
reported "a flipped checksum" "${files[1]}" "1 block does not match its checksum on fsd1"
reported "a flipped byte of the header" "${files[2]}" "1024 blocks do not match their checksums on fsd1"
reported "a chunk file that is cut short" "${files[3]}" "1024 blocks do not match their checksums on fsd1"
reported "a lost chunk" "${files[4]}" "only fsd2 has it"
reported "an older copy" "${files[5]}" "its bytes differ"
same "and nothing else is" 6 "$(grep -c WRONG "$CASE_DIR/said")"
check "and what mends it is named" grep -q "^.raidfs scrub. mends" "$CASE_DIR/said"
need mv "$CASE_DIR/newer" "$CASE_DIR/saved-5"
for n in 0 1 2 3 4 5; do put_back "${files[n]}" $n; done
check "with all of it put back the store is sound again" verify

# A chunk where no file has it: on the other pair, on both of its servers alike.
for n in 3 4; do
  need mkdir -p "$(dirname "${files[0]/fsd1/fsd$n}")"
  need cp --sparse=always "${files[0]}" "${files[0]/fsd1/fsd$n}"
done
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "a chunk on the wrong pair fails" 1 $code
for n in 3 4; do
  check "it is reported of fsd$n" grep -qx "WRONG  chunk $(chunk_of "${files[0]}") on fsd$n: it belongs on pair 1, not on pair 2" "$CASE_DIR/said"
done
same "and nothing else is" 2 "$(grep -c WRONG "$CASE_DIR/said")"
need rm "${files[0]/fsd1/fsd3}" "${files[0]/fsd1/fsd4}"

# One of something that has no bytes; its footer is another's besides, as no server makes such a chunk.
need mkdir "$MNT/directory"
inode=$(stat -c %i "$MNT/directory")
for n in 1 2; do
  stray[n]=$DIR/data/fsd$n/chunks/$(printf '%013x/%016x' $((inode / 4096)) "$inode")
  need mkdir -p "$(dirname "${stray[n]}")"
  need cp --sparse=always "${files[0]}" "${stray[n]}"
done
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "a chunk of a directory fails" 1 $code
for n in 1 2; do
  check "it is reported of fsd$n" \
    grep -qx "WRONG  chunk $(printf '%x.0' "$inode") on fsd$n: it belongs to something that is no regular file" "$CASE_DIR/said"
done
need rm "${stray[1]}" "${stray[2]}"

# What is no file at all in a chunk's place: that server's chunks are not passed over.
need mv "${files[0]}" "$CASE_DIR/aside"; need mkdir "${files[0]}"
fails_with "a directory in a chunk's place is reported" "WRONG  fsd1's chunks could not be checked: " verify
need rmdir "${files[0]}"; need mv "$CASE_DIR/aside" "${files[0]}"
check "with that put right the store is sound again" verify

# The only copy that is left: its mirror cannot say that it is damaged.
crash fsd2
flip_at 100 "${files[0]}"
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "damage of the only copy fails" 1 $code
check "it is reported" \
  grep -qx "WRONG  chunk $(chunk_of "${files[0]}") on fsd1: 1 block does not match its checksum (of $(path_of "${files[0]}"))" "$CASE_DIR/said"
same "and nothing else is but the mirror's absence" 2 "$(grep -c WRONG "$CASE_DIR/said")"
put_back "${files[0]}" 0
says "put back, it is said to be alone and sound" "^ok     chunks: [0-9]+ on fsd1, without a mirror, match their checksums$" verify
back fsd2
need wait_healthy 60
check "with its mirror back, all is" verify

# Chunks of no file: they were taken away with their file, and come back.
on_fsd2=${files[5]/fsd1/fsd2}
need cp --sparse=always "${files[5]}" "$CASE_DIR/dead"
need rm "$victim"
taken_away() { ! [ -e "${files[5]}" ] && ! [ -e "$on_fsd2" ]; }
need wait_until 30 taken_away
need cp --sparse=always "$CASE_DIR/dead" "${files[5]}"
fails_with "a chunk that only one mirror should not have is reported" "only fsd[13] has it" verify
need cp --sparse=always "$CASE_DIR/dead" "$on_fsd2"
fails_with "one that both should not have, too" "WRONG  fsd[12] holds chunks of inode $(basename "$(chunk_of "${files[5]}")" .0), which is no file" verify
