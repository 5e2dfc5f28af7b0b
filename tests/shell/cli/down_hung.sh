# limit: 90
# A mount that hangs is not taken away but by force. Servers that hang are ended by `down` all within the same time, not one after the other.
cluster_up
for name in fsd1 fsd2 fsd3 fsd4 witness; do pids+=" $(pid_of $name)"; done
mount_pid=$(pid_of mountd)
need kill -STOP "$mount_pid"
fails_with "a mount that hangs is said to hang, not to be in use" "$MNT does not answer, nothing was stopped: .*--force" r down
need kill -CONT "$mount_pid"
need r stop mountd
for pid in $pids; do need kill -STOP "$pid"; done
took=$(millis check "down" r down --force)
within "after one grace, 20 s, and not five" 19000 45000 "$took"
for pid in $pids; do check "process $pid is gone" gone "$pid"; done
check "it starts again" "$BIN/raidfs" up --dir "$DIR"
check "the cluster is healthy" wait_healthy 30
check "verify finds nothing wrong" verify
