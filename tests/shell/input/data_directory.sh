# limit: 120
# A data directory that is another's, or not whole, is refused and not touched.
cluster_up
for name in fsd1 fsd4 witness; do
  same "no other user can look into the data of $name" 700 "$(stat -c %a "$DIR/data/$name")"
done
need r down
server() { timeout 20 "$BIN/fsd" --config "${2:-$DIR/raidfs.toml}" --id "$1" --data "$3"; }
whole() { (cd "$1" && find . ! -name lock -type f -printf '%p %s %T@\n' | sort); }
before=$(whole "$DIR/data/fsd1")
fails_with "another server's" "fsd1, not of fsd2" server 2 "" "$DIR/data/fsd1"
mkdir "$CASE_DIR/other"; sed 's/^cluster = .*/cluster = "another"/' "$DIR/raidfs.toml" > "$CASE_DIR/other/raidfs.toml"
fails_with "another cluster's" "belongs to the cluster" server 1 "$CASE_DIR/other/raidfs.toml" "$DIR/data/fsd1"
same "neither was touched" "$before" "$(whole "$DIR/data/fsd1")"
mkdir "$CASE_DIR/full"; echo x > "$CASE_DIR/full/something"
fails_with "something else's" "no data directory" server 1 "" "$CASE_DIR/full"
same "it was not touched" something "$(ls "$CASE_DIR/full")"
cp -a "$DIR/data/fsd1" "$CASE_DIR/half"; rm -r "$CASE_DIR/half/names"; half=$(whole "$CASE_DIR/half")
fails_with "one with a part missing" "half: its directory .names. is missing; restore it, or" server 1 "" "$CASE_DIR/half"
same "it was not touched" "$half" "$(whole "$CASE_DIR/half")"
refuse "and the part not made" test -e "$CASE_DIR/half/names"
cp -a "$DIR/data/fsd1" "$CASE_DIR/cut"; truncate -s 5 "$CASE_DIR/cut/identity"; cut=$(whole "$CASE_DIR/cut")
fails_with "one whose identity is cut short" "cut: its file .identity. does not match its checksum" server 1 "" "$CASE_DIR/cut"
same "it was not touched" "$cut" "$(whole "$CASE_DIR/cut")"
# One that a newer program wrote: the line says so, and the sum is right, so that it is no damage.
cp -a "$DIR/data/fsd1" "$CASE_DIR/newer"; need probe seal "$CASE_DIR/newer/identity" "raidfs data directory, format 2"
newer=$(whole "$CASE_DIR/newer")
fails_with "a newer format's" "format 2, and this program knows format 1" server 1 "" "$CASE_DIR/newer"
same "it was not touched" "$newer" "$(whole "$CASE_DIR/newer")"
fails_with "nor exported" "format 2" "$BIN/raidfs" export --data "$CASE_DIR/newer" --list
mkdir "$CASE_DIR/begun"; echo 'raidfs data dir' > "$CASE_DIR/begun/identity"; begun=$(whole "$CASE_DIR/begun")
fails_with "one whose making was cut short in the middle of its identity" "begun: its file .identity. does not match its checksum" \
  server 1 "" "$CASE_DIR/begun"
same "it was not touched" "$begun" "$(whole "$CASE_DIR/begun")"
config=$(stat -c '%s %Y' "$DIR/raidfs.toml"; cat "$DIR/raidfs.toml")
fails_with "a file instead of a directory" "raidfs.toml.*: Not a directory" server 1 "" "$DIR/raidfs.toml"
same "it was not touched" "$config" "$(stat -c '%s %Y' "$DIR/raidfs.toml"; cat "$DIR/raidfs.toml")"
check "the right one still starts" "$BIN/raidfs" up --dir "$DIR"
fails_with "one that is in use" "already used by process" server 1 "" "$DIR/data/fsd1"
