# limit: 300
# An untar goes on while servers die, and everything is there.
need probe tree "$CASE_DIR/tree" 1000 2
need tar -cf "$CASE_DIR/t.tar" -C "$CASE_DIR/tree" .
cluster_up
load() { mkdir "$MNT/out$1" && tar -xf "$CASE_DIR/t.tar" -C "$MNT/out$1"; }
progress() { find "$MNT/out$1" -type f 2> /dev/null | wc -l; }
outcome() { same_trees "$CASE_DIR/tree" "$MNT/out$1"; }
START=150 survives_each_victim
check "verify finds nothing wrong" verify
