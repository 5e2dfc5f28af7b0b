# limit: 120
# After everything has ended, one server finds an empty disk in the place of its own: the rest of the store comes up, it is
# said what is wrong, and `raidfs replace` makes it whole.
cluster_up
need probe tree "$CASE_DIR/tree" 50 3
need cp -a "$CASE_DIR/tree" "$MNT/tree"
need sync "$MNT/tree"
sync
crash fsd1 fsd2 fsd3 fsd4 witness mountd
need umount -l "$MNT"
need mv "$DIR/data/fsd3" "$CASE_DIR/lost"
fails_with "what is wrong is said" "fsd3.*(empty|not the one|replace)" "$BIN/raidfs" up --dir "$DIR"
check "the store is there" diff -r "$CASE_DIR/tree" "$MNT/tree"
check "and takes changes" cp -a "$CASE_DIR/tree" "$MNT/more"
check "it is replaced" r replace fsd3
back fsd3
check "both copies of everything are in sync again" wait_healthy 60
check "verify finds nothing wrong" verify
