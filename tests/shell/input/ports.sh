# limit: 60
# A port in use, and garbage on every port.
cluster_up
fails_with "up says who has the port, and starts nothing" "127.0.0.1:($PORT|$((PORT + 1))): .*listens there" \
  "$BIN/raidfs" up --dir "$CASE_DIR/second" --mount "$CASE_DIR/second-mnt" --base-port "$PORT"
refuse "nothing was made" test -e "$CASE_DIR/second"
config_of_second() { mkdir -p "$CASE_DIR/d"; sed 's/^cluster = .*/cluster = "second"/' "$DIR/raidfs.toml" > "$CASE_DIR/d/raidfs.toml"; }
config_of_second
fails_with "fsd says so, too" "127.0.0.1:$((PORT + 1))|in use" timeout 20 "$BIN/fsd" --config "$CASE_DIR/d/raidfs.toml" --id 1 --data "$CASE_DIR/d/data"
echo before > "$MNT/f"
for n in 0 1 2 3 4; do
  check "garbage, oversized and foreign first frames on port $n are dropped" probe garbage "127.0.0.1:$((PORT + n))"
done
check "all serve on" wait_healthy 30
same "and nothing happened to the files" before "$(cat "$MNT/f")"
for name in fsd1 witness; do
  within "$name's log says so, not once per byte" 1 200 "$(wc -l < "$DIR/log/$name.log")"
done
