# limit: 60
# A configuration that is none is refused by every program, with what is wrong and where, and nothing is changed.
good() { config; }
bad() { # WHAT PATTERN: the configuration as it is now is refused by all three programs
  fails_with "fsd: $1" "$2" "$BIN/fsd" --config "$DIR/raidfs.toml" --id 1 --data "$CASE_DIR/data"
  fails_with "mountd: $1" "$2" "$BIN/mountd" --config "$DIR/raidfs.toml" "$CASE_DIR/at"
  fails_with "raidfs: $1" "$2" "$BIN/raidfs" status --config "$DIR/raidfs.toml"
}
mkdir -p "$DIR" "$CASE_DIR/at"
bad "missing" "cannot read the configuration .*raidfs.toml"
good; echo '[[[' >> "$DIR/raidfs.toml"; bad "malformed" "raidfs.toml"
good; sed -i "s/:$((PORT + 4))/:$((PORT + 1))/" "$DIR/raidfs.toml"; bad "an address twice" "given twice"
good; sed -i "s/, \"127.0.0.1:$((PORT + 4))\"//" "$DIR/raidfs.toml"; bad "an odd pair" "exactly two"
config 'mirrors = 3'; bad "an unknown key" "unknown field .mirrors"
CLUSTER='' ; good; sed -i 's/^cluster = .*/cluster = ""/' "$DIR/raidfs.toml"; bad "no name" "cluster"
good; sed -i "s/127.0.0.1:$((PORT + 2))/localhost/" "$DIR/raidfs.toml"; bad "no address" "IP:PORT"
good; sed -i "s/127.0.0.1:$((PORT + 2))/0.0.0.0:$((PORT + 2))/" "$DIR/raidfs.toml"; bad "an address of nobody" "nobody can be reached"
rm "$DIR/raidfs.toml"; mkfifo "$DIR/raidfs.toml"; bad "a pipe" "no regular file"; rm "$DIR/raidfs.toml"
config 'io_timeout = "soon"'; bad "no duration" "io_timeout"
good; sed -i '/pair/,$d' "$DIR/raidfs.toml"; bad "no pairs" "pair"
refuse "no data directory was made" test -e "$CASE_DIR/data"
good
fails_with "a server that there is not" "9" "$BIN/fsd" --config "$DIR/raidfs.toml" --id 9 --data "$CASE_DIR/data"
refuse "and nothing made for it" test -e "$CASE_DIR/data"
