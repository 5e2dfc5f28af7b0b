# limit: 180
# verify reports each kind of damage to the names of one server: a row that differs, and each invariant that is broken.
cluster_up
for f in mode nlink dangling unnamed unordered; do echo "$f" > "$MNT/$f"; done
mkdir "$MNT/size"; echo x > "$MNT/size/x"
need sync "$MNT"/mode "$MNT"
need r down
need cp -a "$DIR/data/fsd2/names" "$CASE_DIR/names"
restore() { rm -r "$DIR/data/fsd2/names" && cp -a "$CASE_DIR/names" "$DIR/data/fsd2/names"; }

need probe damage-names "$DIR/data/fsd2" mode mode
need "$BIN/raidfs" up --dir "$DIR"
fails_with "a row that differs on one server" "WRONG  the namespaces differ at entry [0-9]+: .*fsd2" verify
says "with the server that stands alone" "fsd1, fsd3 and fsd4 against fsd2|fsd2 against fsd1, fsd3 and fsd4" verify
need r down
need restore

for f in nlink dangling unnamed unordered size; do need probe damage-names "$DIR/data/fsd2" $f $f; done
need "$BIN/raidfs" up --dir "$DIR"
verify > "$CASE_DIR/said"; code=$?
same "broken invariants: verify fails" 1 $code
cat "$CASE_DIR/said"
broken() { says "$1" "WRONG  fsd2's namespace: $2" cat "$CASE_DIR/said"; }
broken "a wrong number of links" 'inode [0-9]+ has link count 2, but 1 names'
broken "an entry that leads nowhere" 'entry "dangling" of directory 1 names an inode that does not exist'
broken "an inode without a name" 'inode [0-9]+ has link count 1, but 0 names'
broken "a wrong sum of all inodes" 'there are .* but .* were counted'
broken "an entry that is missing under its name" 'in directory 1, cookie [0-9]+ is not that of "unnamed"'
broken "and one under its place in the order" 'in directory 1, the entry of cookie [0-9]+ is not found by its cookie'
broken "a directory that says a wrong number of entries" 'directory [0-9]+ says that it has 2 entries, it has 1'
need r down
need restore
need "$BIN/raidfs" up --dir "$DIR"
check "with the rows put back all is sound again" verify
