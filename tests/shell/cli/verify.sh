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
# The chunk files of one server, largest first; the store is down while they are damaged.
chunk_files() { find "$DIR/data/$1/chunks" -type f -size +4M | sort; }
damage() { # WHAT PATTERN COMMAND...: damages one chunk file of fsd1 while the store is down, and expects verify to say so
  local what=$1 pattern=$2 file; shift 2
  need r down
  rm -rf "$CASE_DIR/saved"; cp -a --sparse=always "$DIR/data/fsd1/chunks" "$CASE_DIR/saved"
  file=$(chunk_files fsd1 | head -n 1)
  need test -n "$file"
  "$@" "$file"
  need "$BIN/raidfs" up --dir "$DIR"
  need wait_healthy 60
  fails_with "$what" "$pattern" verify
  need r down
  rm -rf "$DIR/data/fsd1/chunks"; mv "$CASE_DIR/saved" "$DIR/data/fsd1/chunks"
}
flip() { printf '\377\000\377' | dd of="$1" bs=1 seek=100 conv=notrunc status=none; }
tear() { truncate -s 1000 "$1"; }
flip_sum() { printf '\377\001\002\003' | dd of="$1" bs=1 seek=$((4194304 + 64)) conv=notrunc status=none; }
lose() { rm "$1"; }
double() { cp --sparse=always "$1" "$(dirname "$1")/$(basename "$1" | sed 's/.$/f/')"; }
damage "a flipped byte" "WRONG .*match" flip
damage "a torn file" "WRONG +chunk" tear
damage "a flipped checksum" "WRONG .*match" flip_sum
damage "a lost chunk" "WRONG .*only the second server has it" lose
need "$BIN/raidfs" up --dir "$DIR"
need wait_healthy 60
check "with everything put back it is sound again" verify
