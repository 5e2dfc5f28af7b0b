# limit: 240
# A server is killed again in the middle of catching up, and its source too: no harm.
need probe tree "$CASE_DIR/tree" 1500 4
cluster_up
crash fsd4
need cp -a "$CASE_DIR/tree" "$MNT/new"
for i in 1 2 3 4 5 6; do need dd if=/dev/urandom of="$MNT/big$i" bs=1M count=20 status=none; done
need sync
for round in 1 2; do
  need "$BIN/raidfs" start fsd4 --dir "$DIR"
  need wait_until 20 not copy_is fsd4 stale
  crash fsd4
done
ok "it was killed twice on the way"
back fsd4
check "the third time it gets there" wait_healthy 90
check "all files are right" same_trees "$CASE_DIR/tree" "$MNT/new"
crash fsd3
check "and from its copy alone" same_trees "$CASE_DIR/tree" "$MNT/new"
back fsd3
check "all is healthy" wait_healthy 60
check "verify finds nothing wrong" verify
