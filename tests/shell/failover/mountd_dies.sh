# limit: 300
# mountd is killed: it is mounted again at once, what was synced is there with its size, so is what had reached the servers,
# and nothing leaks.
cluster_up

# Never synced nor closed: killed as soon as the servers have the bytes, whether they have been told of the size or not.
size=$((2197 * 4096))
head -c $size /dev/urandom > "$CASE_DIR/data"
had=$(kept)
have_it() { [ "$(kept)" -ge $((had + 2 * size)) ]; }
exec 5> "$MNT/unsynced"
cat "$CASE_DIR/data" >&5
need wait_until 10 have_it
crash mountd
exec 5>&-
need r start mountd
same "what was not synced, but had reached the servers, has its size" $size "$(stat -c %s "$MNT/unsynced")"
check "and its bytes" cmp "$CASE_DIR/data" "$MNT/unsynced"
need rm "$MNT/unsynced"
gone_again() { [ "$(kept)" -le "$had" ]; }
need wait_until 30 gone_again
head -c 9000000 /dev/urandom > "$CASE_DIR/data"
need cp "$CASE_DIR/data" "$MNT/synced"; need sync "$MNT/synced"
head -c 9000000 /dev/urandom > "$MNT/orphan"; need sync "$MNT/orphan"
before=$(json /servers/0/chunk_bytes)
begin held exec "$BIN/probe" held "$MNT/orphan"
need wait_until 10 lines_at_least "$(output_of held)" 1
begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 20 lines_at_least "$(output_of log)" 50
fault_at
crash mountd
fails_with "its mount is dead" "not connected|No such" stat "$MNT/synced"
says "status says so" "mountd is down" r status
took=$(millis check "raidfs start mountd mounts again" r start mountd)
within "at once" 0 5000 "$took"
check "programs use it" mkdir "$MNT/later"
mount_ended "mountd was killed" "$(since_fault)" log held
check "what was synced is there, with its size" cmp "$CASE_DIR/data" "$MNT/synced"
check "every synced line too" probe log-check "$MNT/log" "$(output_of log)"
refuse "the file that was unlinked while open is gone" test -e "$MNT/orphan"
reclaimed() { [ "$(json /servers/0/chunk_bytes)" -lt "$before" ]; }
check "and its room is given back" wait_until 30 reclaimed
check "all is healthy" wait_healthy 30
check "verify finds nothing wrong" verify
