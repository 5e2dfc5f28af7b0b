# limit: 180
# verify finds nothing in a sound store, and each kind of damage in a damaged one.
cluster_up
for i in $(seq 1 20); do head -c 50000 /dev/urandom > "$MNT/f$i"; done
head -c 9000000 /dev/urandom > "$MNT/large"
sync
check "a sound store" verify
hang fsd4
fails_with "a server that does not answer is reported" "WRONG +fsd4 does not answer" verify
resume fsd4
need wait_healthy 60
# Chunk files are as large as a whole chunk and its footer, sparse; the first is that of an early file.
chunk_files() { find "$DIR/data/$1/chunks" -type f -size +4M | sort; }
# damage WHAT PATTERN COMMAND: damages one chunk file of fsd1 under the running server, expects verify to say so, and
# puts it back.
damage() {
  local file
  file=$(chunk_files fsd1 | head -n 1)
  need test -n "$file"
  need cp --sparse=always "$file" "$CASE_DIR/saved"
  need "$3" "$file"
  fails_with "$1 is reported" "$2" verify
  need dd if="$CASE_DIR/saved" of="$file" bs=1M conv=sparse status=none
}
flip() { printf '\377\000\377' | dd of="$1" bs=1 seek=100 conv=notrunc status=none; }
lose() { rm "$1"; }
stray() { cp --sparse=always "$1" "${1%?}3"; }
damage "a flipped byte" "WRONG .*do not match their checksums on the first server" flip
check "with it put back all is sound again" verify
damage "a lost chunk" "WRONG .*only the second server has it" lose
check "with it put back all is sound again" verify
damage "a chunk that does not belong there" "WRONG .*(only the first server has it|belongs on pair)" stray
