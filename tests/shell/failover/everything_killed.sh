# limit: 300
# bounds no time
# All servers, the witness and mountd are killed at once and started again: all that was acknowledged is there.
need probe tree "$CASE_DIR/tree" 500 5
cluster_up
need cp -a "$CASE_DIR/tree" "$MNT/tree"
need sync
begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 20 lines_at_least "$(output_of log)" 100
crash fsd1 fsd2 fsd3 fsd4 witness mountd
finish log || :
says "everything is down" "^unavailable: nothing of it runs" r status
check "raidfs up starts the same store again" "$BIN/raidfs" up --dir "$DIR"
check "it is healthy" wait_healthy 60
check "the tree is as it was" same_trees "$CASE_DIR/tree" "$MNT/tree"
check "every line that was synced is there" probe log-check "$MNT/log" "$(output_of log)"
check "verify finds nothing wrong" verify
