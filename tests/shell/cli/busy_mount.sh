# limit: 90
# down refuses while the mount is in use, and says by whom; --force goes on. stop detaches it, and says from whom.
cluster_up
echo x > "$MNT/f"
begin user tail -f "$MNT/f"
need wait_until 10 lines_at_least "$(output_of user)" 1
fails_with "a busy mount is refused, with who holds it" "pid ${LOADS[user]} .tail.* has .*/f open" r down
check "nothing was stopped" healthy
check "the mount still works" cat "$MNT/f"
begin sitter bash -c 'cd "$1" && echo here && exec tail -f /dev/null' - "$MNT"
need wait_until 10 lines_at_least "$(output_of sitter)" 1
fails_with "a working directory counts, too" "works in $MNT" r down
# Nobody waits for those who still use it.
check "--force goes on" timeout 30 "$BIN/raidfs" down --dir "$DIR" --force
refuse "nothing is mounted" mounted
check "up" "$BIN/raidfs" up --dir "$DIR"
begin reader tail -f "$MNT/f"
need wait_until 10 lines_at_least "$(output_of reader)" 1
says "stop says who used it" "pid ${LOADS[reader]} .tail.* has .*/f open" r stop mountd
refuse "nothing is mounted" mounted
check "start mountd mounts" r start mountd
same "what was written is there" x "$(cat "$MNT/f")"
