# limit: 180
# With every process dead, one server's data directory gives its files back.
need probe tree "$CASE_DIR/tree" 200 6
cluster_up
need cp -a "$CASE_DIR/tree" "$MNT/tree"
ln -s d0/e0 "$MNT/tree/link"; ln "$MNT/tree/d0/e0/file0" "$MNT/tree/hard"
chown 12:34 "$MNT/tree/hard"; chmod 4750 "$MNT/tree/hard"; touch -d '2001-02-03 04:05:06.789' "$MNT/tree/hard"
if command -v setfattr > /dev/null; then setfattr -n user.colour -v green "$MNT/tree/hard"; fi
if command -v setfacl > /dev/null; then
  mkdir "$MNT/tree/lists"; echo x > "$MNT/tree/lists/before"
  setfacl -m d:u:5:rwx,u:6:r "$MNT/tree/lists"; echo x > "$MNT/tree/lists/after"; chmod 750 "$MNT/tree/lists"
fi
head -c 9000000 /dev/urandom > "$MNT/tree/large"
truncate -s 5000000 "$MNT/tree/hole"
held=$(on_pair 1 held); need test -n "$held"
head -c 50000 /dev/urandom > "$held"; held_ino=$(stat -c %i "$held")
mkdir "$MNT/odd"
forged=$'line\nwhole                     5  forged\e[2J'
echo x > "$MNT/odd/$forged"
# Files with chunks that are not there, and should not be.
fallocate -l 6M "$MNT/odd/reserved"; fallocate -n -l 20M "$MNT/odd/reserved-behind"
head -c 13000000 /dev/urandom > "$MNT/odd/punched"; fallocate -p -o 0 -l 4194304 "$MNT/odd/punched"
fallocate -p -o 8388608 -l 4611392 "$MNT/odd/punched"
head -c 9000000 /dev/urandom > "$MNT/odd/cut"; truncate -s 100 "$MNT/odd/cut"; truncate -s 30M "$MNT/odd/cut"
for n in 1 2 3 4; do
  truncate -s 40M "$MNT/odd/holes$n"; dd if=/dev/urandom of="$MNT/odd/holes$n" bs=1M seek=$((n * 4)) count=2 conv=notrunc status=none
done
sync
cp -a "$MNT/tree" "$CASE_DIR/original"
# What each server has is compared below: none of them is behind, which on a busy machine one may be for a while.
need wait_healthy 60
crash fsd1 fsd2 fsd3 fsd4 witness mountd
need umount -l "$MNT"
for server in fsd1 fsd3; do
  says "$server lists all names" "tree/d0/e0/file0" "$BIN/raidfs" export --data "$DIR/data/$server" --list
  "$BIN/raidfs" export --data "$DIR/data/$server" --list > "$CASE_DIR/listed-$server" 2> /dev/null
  check "and a name of two lines on one" grep -qF "  \$'odd/line\nwhole                     5  forged\033[2J'" "$CASE_DIR/listed-$server"
  refuse "so that it forges none" grep -qE "^whole +5  forged" "$CASE_DIR/listed-$server"
  mkdir "$CASE_DIR/out-$server"
  "$BIN/raidfs" export --data "$DIR/data/$server" --to "$CASE_DIR/out-$server" > "$CASE_DIR/said-$server" 2>&1
  same "$server gives back all that it should have" 0 $?
  tail -n 3 "$CASE_DIR/said-$server"
done
says "what is on the other pair only is named" "tree/large" cat "$CASE_DIR/said-fsd1"
# Between them, one server of each pair has every file of one chunk.
for file in $(cd "$CASE_DIR/original" && find . -type f ! -name large); do
  cmp -s "$CASE_DIR/original/$file" "$CASE_DIR/out-fsd1/tree/$file" || cmp -s "$CASE_DIR/original/$file" "$CASE_DIR/out-fsd3/tree/$file" || echo "missing: $file"
done > "$CASE_DIR/missing"
same "every small file is given back by one of them, byte for byte" "" "$(cat "$CASE_DIR/missing")"
for out in fsd1 fsd3; do
  [ -e "$CASE_DIR/out-$out/tree/hard" ] && hard=$CASE_DIR/out-$out/tree/hard
done
same "with its mode" 4750 "$(stat -c %a "$hard")"
same "its owner" 12:34 "$(stat -c %u:%g "$hard")"
same "its time" "$(stat -c %y "$CASE_DIR/original/hard")" "$(stat -c %y "$hard")"
same "its other name" 2 "$(stat -c %h "$hard")"
if command -v getfattr > /dev/null; then same "its attributes" green "$(getfattr --only-values -n user.colour "$hard")"; fi
if command -v getfacl > /dev/null; then
  lists() { getfacl -R -n -c "$1/lists" | sort; }
  mkdir "$CASE_DIR/lists"
  for out in fsd3 fsd1; do cp -a "$CASE_DIR/out-$out/tree/lists" "$CASE_DIR"; done
  same "and access control lists" "$(lists "$CASE_DIR/original")" "$(lists "$CASE_DIR")"
fi
refuse "of a copy in sync nothing is said to be out of date" grep -q "out of date" "$CASE_DIR/said-fsd1"
same "links lead where they led" d0/e0 "$(readlink "$CASE_DIR/out-fsd1/tree/link")"
both() { # the two pairs into one directory
  "$BIN/raidfs" export --data "$DIR/data/fsd1" --to "$CASE_DIR/out-both" \
    && "$BIN/raidfs" export --data "$DIR/data/fsd4" --to "$CASE_DIR/out-both" > "$CASE_DIR/said-both" 2>&1
}
differs() { diff -r --no-dereference "$1" "$CASE_DIR/out-both/tree" 2>&1 | head -n 5; }
"$BIN/raidfs" export --data "$DIR/data/fsd2" --list --to "$CASE_DIR/out-listed" > "$CASE_DIR/said-listed" 2>&1
same "a list and the files can be had at once" 0 $?
check "the list is there" grep -qE "^(whole|ELSEWHERE) +[0-9]+ +tree/d0/e0/file0$" "$CASE_DIR/said-listed"
same "and so are the files" "" "$(diff -r --no-dereference "$CASE_DIR/out-fsd1" "$CASE_DIR/out-listed" 2>&1 | head -n 5)"
check "two pairs are exported to one directory" both
same "which has everything then" "" "$(differs "$CASE_DIR/original")"
same "so that nothing is said to be missing in it" "" "$(grep -E "ELSEWHERE|PARTLY|missing" "$CASE_DIR/said-both")"

# A chunk's file that is gone leaves no whole file, and its zeros do not pass for one.
need cp -a "$DIR/data/fsd1" "$CASE_DIR/lacking"
need rm "$CASE_DIR/lacking/chunks/$(printf '%013x/%016x' $((held_ino / 4096)) "$held_ino")"
fails_with "a chunk's file that is gone is missed" "held: chunk 0 is gone" "$BIN/raidfs" export --data "$CASE_DIR/lacking" --list
says "the file is not whole" "^DAMAGED +50000 +.*held$" "$BIN/raidfs" export --data "$CASE_DIR/lacking" --list
fails_with "nor is it made of zeros without a word" "^DAMAGED +.*/held: chunk 0 is gone" \
  "$BIN/raidfs" export --data "$CASE_DIR/lacking" --to "$CASE_DIR/out-lacking"
fails_with "what comes out is not put into the data directory" "not changed" \
  "$BIN/raidfs" export --data "$DIR/data/fsd1" --to "$DIR/data/fsd1/out"
fails_with "nor into another server's" "data directory of raidfs" \
  "$BIN/raidfs" export --data "$DIR/data/fsd1" --to "$DIR/data/fsd2/out"
refuse "nothing was made there" test -e "$DIR/data/fsd1/out"
check "the data directory was not changed: it starts again" "$BIN/raidfs" up --dir "$DIR"
check "and is healthy" wait_healthy 60
fails_with "a running server's directory is refused" "used|runs" "$BIN/raidfs" export --data "$DIR/data/fsd1" --list
fails_with "something else's too" "/etc is no server's data directory" "$BIN/raidfs" export --data /etc --list
fails_with "and a file in the place of what is written" "said-fsd1 is there already, and is no directory" \
  "$BIN/raidfs" export --data "$DIR/data/fsd1" --to "$CASE_DIR/said-fsd1"
fails_with "for a cluster's own directory one in it is named" "name one of them, for example $DIR/data/fsd1" "$BIN/raidfs" export --data "$DIR" --list
fails_with "one that is not there is said to be missing" "there is no data directory .*/none" \
  "$BIN/raidfs" export --data "$CASE_DIR/none" --to "$CASE_DIR/never"
refuse "nothing was made for what was refused" test -e "$CASE_DIR/never"

# A second export of what has changed since does not leave old bytes where there are zeros now.
need dd if=/dev/zero of="$MNT/tree/large" bs=1M count=6 conv=notrunc status=none
for file in "$MNT"/tree/d0/e0/*; do need dd if=/dev/zero of="$file" bs=100 count=1 conv=notrunc status=none; done
need truncate -s 0 "$MNT/tree/d0/e0/file0"; need truncate -s 8000 "$MNT/tree/d0/e0/file0"
need rm "$MNT/tree/link"; need ln -s d0 "$MNT/tree/link"
need sync "$MNT/tree/large"
cp -a "$MNT/tree" "$CASE_DIR/changed"
need r down
check "a later state is exported to the same directory" both
same "and nothing of the one before is mixed into it" "" "$(differs "$CASE_DIR/changed")"

# A copy that its server knew to be behind says so.
need "$BIN/raidfs" up --dir "$DIR"
need wait_healthy 60
crash fsd2
echo missed > "$held"; need sync "$held"
crash fsd1
back fsd2
need wait_until 20 copy_is fsd2 stale
# It is told from its own names, which learn of it a moment after others do.
knows() { [ "$(json /servers/1/applied)" -ge "$(json /servers/2/applied)" ]; }
need wait_until 20 knows
crash fsd2 fsd3 fsd4 witness mountd
need umount -l "$MNT"
says "an old copy is told" "this copy may be out of date: fsd2 was stale when it ended" \
  "$BIN/raidfs" export --data "$DIR/data/fsd2" --list
