# limit: 120
# Chunks whose files are gone from both mirrors read as zeros: verify names the files, and takes no hole for one.
cluster_up
for i in $(seq 1 20); do head -c 5000 /dev/urandom > "$MNT/f$i"; done
need mkdir "$MNT/d"
head -c 30000 /dev/urandom > "$MNT/d/small"
head -c 9000000 /dev/urandom > "$MNT/large"
need ln "$MNT/large" "$MNT/d/other name of large"
head -c 30000 /dev/urandom > "$MNT/new
line"
head -c 30000 /dev/urandom > "$MNT/rewritten"
need sync "$MNT/rewritten"
head -c 20000 /dev/urandom > "$MNT/rewritten"
# Holes in every place: all of it, before, between and behind what there is; room behind the end; what was punched, or cut.
need truncate -s 20M "$MNT/all" "$MNT/before" "$MNT/between" "$MNT/behind" "$MNT/cut"
need dd if=/dev/urandom of="$MNT/before" bs=1M seek=16 count=4 conv=notrunc status=none
need dd if=/dev/urandom of="$MNT/behind" bs=1M count=4 conv=notrunc status=none
need dd if=/dev/urandom of="$MNT/between" bs=1M seek=8 count=4 conv=notrunc status=none
need dd if=/dev/urandom of="$MNT/cut" bs=1M seek=8 count=4 conv=notrunc status=none
need truncate -s 8M "$MNT/cut"
: > "$MNT/room"; need fallocate -n -o 8M -l 22M "$MNT/room"
need truncate -s 100 "$MNT/room"
need fallocate -n -o 40M -l 8M "$MNT/before"
head -c 12000000 /dev/urandom > "$MNT/punched"
need fallocate -p -o 0 -l 8M "$MNT/punched"
need sync -f "$MNT"
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "holes are nothing wrong" 0 $code
same "nor in doubt" "" "$(grep -E '^(WRONG|doubt)' "$CASE_DIR/said")"
check "every name was looked at" grep -qE '^ok     files: no chunk is missing of what 32 files count$' "$CASE_DIR/said"

# lose FILE INDEX: that chunk, on both of its servers.
lose() {
  local ino name n=0 file; ino=$(stat -c %i "$1")
  name=$(printf '%013x/%016x' $((ino >> 12)) "$ino")
  if [ "$2" -gt 0 ]; then name+=$(printf '.d/%08x' "$2"); fi
  for file in "$DIR"/data/fsd[1-4]/chunks/"$name"; do
    if [ -e "$file" ]; then need rm "$file"; n=$((n + 1)); fi
  done
  need test $n = 2
}
lose "$MNT/d/small" 0
lose "$MNT/large" 1
lose "$MNT/new
line" 0
lose "$MNT/rewritten" 0
lose "$MNT/between" 2
echo 3 > /proc/sys/vm/drop_caches
servers='\((fsd1\+fsd2|fsd3\+fsd4) should have them\)'
verify > "$CASE_DIR/said"; code=$?
cat "$CASE_DIR/said"
same "what is gone fails" 1 $code
reported() { says "$1 is reported" "^WRONG  $2: chunk $3 is held by nobody: its bytes are gone $servers$" cat "$CASE_DIR/said"; }
reported "the only chunk of a file" /d/small 0
reported "one of several" "(/large|'/d/other name of large')" 1
reported "a name that is no plain text" "[$]'/new.nline'" 0
says "of a file with holes, that some are" \
  '^WRONG  /between: chunks 0, 1, 2, 3 and 4 are held by nobody: 1,024 blocks of 4 KiB are gone with some of them' cat "$CASE_DIR/said"
same "and nothing else is" 4 "$(grep -c WRONG "$CASE_DIR/said")"
says "of a file that was cut it cannot be told" "^doubt  /rewritten: chunk 0 is held by nobody .*, as it was cut once$" cat "$CASE_DIR/said"
same "nor of that alone" 1 "$(grep -c ^doubt "$CASE_DIR/said")"
need rm "$MNT/d/small" "$MNT/large" "$MNT/d/other name of large" "$MNT/new
line" "$MNT/between" "$MNT/rewritten"
check "once they are gone, all is well" verify
