# limit: 300
# A checksummed copy of a tree of 2,000 files goes on while servers die, and is whole.
need probe tree "$CASE_DIR/tree" 2000 1
need sums "$CASE_DIR/tree" > "$CASE_DIR/sums"
cluster_up
load() { cp -a "$CASE_DIR/tree" "$MNT/copy$1"; }
progress() { find "$MNT/copy$1" -type f 2> /dev/null | wc -l; }
outcome() { (cd "$MNT/copy$1" && sha256sum --quiet -c "$CASE_DIR/sums"); }
START=300 survives_each_victim
check "verify finds nothing wrong" verify
