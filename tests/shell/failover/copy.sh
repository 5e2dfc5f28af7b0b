# limit: 600
# A tree of 2,000 files with checksums is copied again and again while servers die, and every copy is whole.
need probe tree "$CASE_DIR/tree" 2000 1
need sums "$CASE_DIR/tree" > "$CASE_DIR/sums"
# A disk of its own: on one that is shared with everything else, a journal that writes out thousands of new files at a time is
# what the small programs would wait for.
skip_without mkfs.ext4
local_ext4 "$DIR/data" 4G
cluster_up
load() { mkdir "$MNT/copy$1" && in_rounds "load$1" copy "$MNT/copy$1"; }
copy() { cp -a "$CASE_DIR/tree" "$1/$2"; }
progress() { find "$MNT/copy$1" -type f 2> /dev/null | wc -l; }
outcome() {
  local round
  for round in $(seq "$(rounds_of "load$1")"); do
    (cd "$MNT/copy$1/$round" && sha256sum --quiet -c "$CASE_DIR/sums") || return 1
  done
}
START=300 MORE=300 survives_each_victim
check "verify finds nothing wrong" verify
