# bounds no time
# A mount whose session is ended by another does not vanish from its place, where programs would then write to the local
# disk below: it gives errors until it is mounted anew.
cluster_up
echo one > "$MNT/f"
need sync "$MNT/f"
old=$(pid_of mountd)
begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 20 lines_at_least "$(output_of log)" 20
fault_at
need sh -c "echo 'write /f two' | '$BIN/raidfs' shell --dir '$DIR' --takeover"
check "its mountd ends" wait_until 30 gone "$old"
check "the place is still a mount" mounted
fails_with "who reads gets an error" "not connected|Input/output" cat "$MNT/f"
refuse "who writes, too" sh -c "echo x > '$MNT/lost'"
check "the log says why" grep -q "the mount session was lost" "$DIR/log/mountd.log"
check "started again, it is mounted anew" r start mountd
check "programs use it" mkdir "$MNT/later"
mount_ended "its session was ended by another" "$(since_fault)" log
check "every line that was synced is there" probe log-check "$MNT/log" "$(output_of log)"
need rm "$MNT/log"; need rmdir "$MNT/later"
same "and has what was written meanwhile" two "$(cat "$MNT/f")"
same "nothing else is there" f "$(ls "$MNT")"
need r down
same "nothing lies below it" "" "$(ls -A "$MNT")"
check "and it can be had again" "$BIN/raidfs" up --dir "$DIR"
check "it is healthy" wait_healthy 30
check "verify finds nothing wrong" verify
