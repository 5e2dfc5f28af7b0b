# limit: 300
# mountd is killed: it is mounted again at once, what was synced is there with its size, and nothing leaks.
cluster_up
head -c 9000000 /dev/urandom > "$CASE_DIR/data"
need cp "$CASE_DIR/data" "$MNT/synced"; need sync "$MNT/synced"
head -c 9000000 /dev/urandom > "$MNT/orphan"; need sync "$MNT/orphan"
before=$(json /servers/0/chunk_bytes)
begin held exec "$BIN/probe" held "$MNT/orphan"
need wait_until 10 lines_at_least "$(output_of held)" 1
begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 20 lines_at_least "$(output_of log)" 50
crash mountd
finish log || :
tell held; finish held || :
fails_with "its mount is dead" "not connected|No such" stat "$MNT/synced"
says "status says so" "mountd is down" r status
took=$(millis check "raidfs start mountd mounts again" r start mountd)
within "at once" 0 5000 "$took"
check "what was synced is there, with its size" cmp "$CASE_DIR/data" "$MNT/synced"
check "every synced line too" probe log-check "$MNT/log" "$(output_of log)"
refuse "the file that was unlinked while open is gone" test -e "$MNT/orphan"
reclaimed() { [ "$(json /servers/0/chunk_bytes)" -lt "$before" ]; }
check "and its room is given back" wait_until 30 reclaimed
check "all is healthy" wait_healthy 30
check "verify finds nothing wrong" verify
