# limit: 600
# A tar is unpacked again and again while servers die, and everything is there each time.
need probe tree "$CASE_DIR/tree" 1000 2
need tar -cf "$CASE_DIR/t.tar" -C "$CASE_DIR/tree" .
# A disk of its own: on one that is shared with everything else, a journal that writes out thousands of new files at a time is
# what the small programs would wait for.
skip_without mkfs.ext4
local_ext4 "$DIR/data" 4G
cluster_up
load() { mkdir "$MNT/out$1" && in_rounds "load$1" untar "$MNT/out$1"; }
untar() { mkdir "$1/$2" && tar -xf "$CASE_DIR/t.tar" -C "$1/$2"; }
progress() { find "$MNT/out$1" -type f 2> /dev/null | wc -l; }
outcome() {
  local round
  for round in $(seq "$(rounds_of "load$1")"); do
    same_trees "$CASE_DIR/tree" "$MNT/out$1/$round" || return 1
  done
}
START=150 MORE=150 survives_each_victim
check "verify finds nothing wrong" verify
