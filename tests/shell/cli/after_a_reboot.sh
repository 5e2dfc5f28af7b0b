# limit: 120
# Pid files that a reboot left, whose numbers are others' by now, are not believed.
cluster_up
echo kept > "$MNT/f"; need sync "$MNT/f"
crash mountd fsd1 fsd2 fsd3 fsd4 witness
need umount -l "$MNT"
for name in fsd1 fsd2 fsd3 fsd4 witness mountd; do echo $$ > "$DIR/run/$name.pid"; done
says "status does not take this test for a server" "nothing of it runs" r status
check "up starts the same store" "$BIN/raidfs" up --dir "$DIR"
same "with what was in it" kept "$(cat "$MNT/f")"
check "this test was not killed" true
check "it is healthy" wait_healthy 30
