# limit: 120
# What `make run` and `make stop` do, after building: the store comes up and says what to try; run again it says so and changes
# nothing, also if it was mounted somewhere else than by default.
root=$LIB/../../..
config
make_run() { "$root/packaging/run" "$BIN/raidfs" "$DIR" "$@"; }
says "make run MOUNT= mounts there" "What to try next" make_run "$MNT"
check "it is mounted there" mounted
pids=$(cat "$DIR"/run/*.pid)
says "make run says that it is up" "up already" make_run ""
check "and succeeds" make_run ""
same "and changes nothing" "$pids" "$(cat "$DIR"/run/*.pid)"
echo kept > "$MNT/f"
need sync "$MNT/f"
# Each command that it advises does what it says.
make_run "" > "$CASE_DIR/said"
says "what to try is in it" "$BIN/raidfs kill fsd2 --dir $DIR && ls -lR $MNT" cat "$CASE_DIR/said"
check "and works" bash -c "$(sed -n 's|^  \(.*raidfs kill .*ls -lR [^ ]*\) .*|\1|p' "$CASE_DIR/said")"
check "status misses it" wait_until 10 degraded
check "what it advises brings it back" bash -c "$(sed -n 's|^  \(.*raidfs start fsd2 [^ ]* [^ ]*\) .*|\1|p' "$CASE_DIR/said")"
check "it is healthy" wait_healthy 30
need r kill fsd3
check "make run again starts what is missing" make_run ""
check "it is healthy once more" healthy
check "make stop stops it" r down
refuse "nothing is mounted" mounted
check "make stop again is no mistake" r down
says "make run mounts it where it was" "$MNT" make_run ""
same "with what was in it" kept "$(cat "$MNT/f")"
check "verify finds nothing wrong" verify
