# limit: 60
# A port in use, and garbage on every port.
cluster_up
fails_with "up says who has the port, and starts nothing" "127.0.0.1:($PORT|$((PORT + 1))): .*listens there" \
  "$BIN/raidfs" up --dir "$CASE_DIR/second" --mount "$CASE_DIR/second-mnt" --base-port "$PORT"
refuse "nothing was made" test -e "$CASE_DIR/second"
config_of_second() { mkdir -p "$CASE_DIR/d"; sed 's/^cluster = .*/cluster = "second"/' "$DIR/raidfs.toml" > "$CASE_DIR/d/raidfs.toml"; }
config_of_second
fails_with "fsd says so, too" "127.0.0.1:$((PORT + 1))|in use" timeout 20 "$BIN/fsd" --config "$CASE_DIR/d/raidfs.toml" --id 1 --data "$CASE_DIR/d/data"
fails_with "the witness, too" "127.0.0.1:$PORT|in use" timeout 20 "$BIN/fsd" --config "$CASE_DIR/d/raidfs.toml" --witness --data "$CASE_DIR/d/data"
refuse "no data directory was made" test -e "$CASE_DIR/d/data"
mkdir "$CASE_DIR/away"; sed 's/^cluster = .*/cluster = "away"/; s/127\.0\.0\.1:/192.0.2.9:/' "$DIR/raidfs.toml" > "$CASE_DIR/away/raidfs.toml"
fails_with "an address that is not this machine's is not said to be somebody's" \
  "fsd1 cannot listen on its address 192.0.2.9:$((PORT + 1)); nothing was started: Cannot assign requested address" \
  "$BIN/raidfs" up --dir "$CASE_DIR/away" --mount "$CASE_DIR/away-mnt"
same "nothing was made for it" raidfs.toml "$(ls "$CASE_DIR/away")"
echo before > "$MNT/f"
begun=$(wc -l < "$DIR/log/fsd1.log")
for n in 0 1 2 3 4; do
  check "garbage, oversized and foreign first frames on port $n are dropped" probe garbage "127.0.0.1:$((PORT + n))"
done
within "fsd1's log says so, not once per try" 1 3 $(($(wc -l < "$DIR/log/fsd1.log") - begun))
mkdir "$CASE_DIR/at"
took=$(millis refuse "a mount of another cluster is refused" \
  sh -c 'timeout 60 "$1" --config "$2" "$3" 2> "$4"' - "$BIN/mountd" "$CASE_DIR/d/raidfs.toml" "$CASE_DIR/at" "$CASE_DIR/refused")
within "at once" 0 5000 "$took"
says "with both names" "mountd: .*is of the cluster .second., fsd1 is of .local-" cat "$CASE_DIR/refused"
same "said once for each server" 1 "$(grep -c "WARN fsd1: refused" "$CASE_DIR/refused")"
says "and status says why nobody answers" "fsd1 is not reached \(refused: .* is of the cluster .second." "$BIN/raidfs" status --config "$CASE_DIR/d/raidfs.toml"

# A server with another cluster's name in the place of one of ours.
need r stop fsd2
begin stranger "$BIN/fsd" --config "$CASE_DIR/d/raidfs.toml" --id 2 --data "$CASE_DIR/d/fsd2"
check "a server of another cluster says that others refuse it, in their words" wait_until 20 \
  grep -q 'WARN fsd1 does not let fsd2 take part: fsd2 is of the cluster "second", fsd1 is of "local-' "$CASE_DIR/stranger.err"
check "and they say which it is" wait_until 20 grep -q 'refused: fsd2 is of the cluster "second"' "$DIR/log/fsd1.log"
same "each once a minute at most" "1 1" \
  "$(grep -c "WARN fsd1 does not let" "$CASE_DIR/stranger.err") $(grep -c 'refused: fsd2 is of' "$DIR/log/fsd1.log")"
tell stranger
finish stranger
need r start fsd2

for n in 0 1 2 3 4; do
  check "garbage behind a right first frame, and names that are none, too (server $n)" probe garbage "$DIR/raidfs.toml" $n
done
says "the log says what came" "sends what is no message .*that connection is dropped" cat "$DIR/log/fsd1.log"
says "and what was too large" "is larger than any message" cat "$DIR/log/fsd1.log"
same "each once a minute at most, however many came" 2 "$(grep -c "sends what is no message" "$DIR/log/fsd1.log")"
check "all serve on" wait_healthy 30
same "and nothing happened to the files" "f before" "$(cd "$MNT" && echo $(ls) $(cat f))"
check "verify finds nothing wrong" verify
