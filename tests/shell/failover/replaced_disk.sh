# limit: 600
# only when asked
# A server's disk is replaced by an empty one, under a load that checks what it reads: refused until `raidfs replace` says so,
# then copied anew, with progress, killed in the middle of it, too; the old disk is refused for good. The same for the witness.
source "$LIB/watch.sh"
cluster_up
need probe tree "$MNT/tree" 300 1
for n in $(seq 1 12); do head -c 20M /dev/urandom > "$MNT/big$n"; done
sync -f "$MNT"
sums "$MNT" > "$CASE_DIR/sums"
data=$DIR/data

# The programs: one that writes and reads back, one that has to wait as little as possible.
load() { head -c 200000 /dev/urandom > "$CASE_DIR/load" && cp "$CASE_DIR/load" "$MNT/w" && cmp "$CASE_DIR/load" "$MNT/w" && sha256sum --quiet -c "$CASE_DIR/some"; }
(cd "$MNT" && sha256sum big1 tree/* 2> /dev/null | head -n 20 | sed "s|  |  $MNT/|") > "$CASE_DIR/some"
begin load in_rounds load load
begin stall exec "$BIN/probe" stall "$MNT"
need wait_until 30 lines_at_least "$(output_of load)" 2

# refused WHAT NAME: it is started, and ends by itself.
refused() { fails_with "$1" "ended \\(exit status: 3\\)" r start "$2"; }

need r stop fsd2
need mv "$data/fsd2" "$CASE_DIR/old2"
refused "an empty directory in its place is refused" fsd2
says "it says what to do" "new, as far as the cluster knows: .*raidfs replace fsd2" tail -n 1 "$DIR/log/fsd2.log"
same "fsd itself ends with exit code 3" 3 "$("$BIN/fsd" --config "$DIR/raidfs.toml" --id 2 --data "$CASE_DIR/another" > /dev/null 2>&1; echo $?)"
need mkdir "$CASE_DIR/new2"
need mv "$data/fsd2" "$CASE_DIR/new2/by-mistake"
need mv "$CASE_DIR/old2" "$data/fsd2"
check "its own is taken again, without a word" r start fsd2
check "and is in sync" wait_healthy 60

fails_with "a server that runs is not given up" "it runs" r replace fsd2
need r stop fsd2
need mv "$data/fsd2" "$CASE_DIR/old2"
says "it says what it will do" "all that its mirror fsd1 holds \\(.*\\), are copied to the new one" r replace fsd2
says "status says that it waits" "fsd2 waits for a new data directory" r status
check "said twice it changes nothing" r replace fsd2
need mv "$CASE_DIR/old2" "$data/fsd2"
refused "the old directory is refused at once" fsd2
need mv "$data/fsd2" "$CASE_DIR/old2"

# copies: how far it is, by status; nothing if it is not being copied.
copies() { json /servers/1/resync/chunks_done; }
copying() { [ "$(copies)" -gt "${1:-0}" ] 2> /dev/null; }
back fsd2
check "it is copied, and status says how far it is" wait_until 30 copying 0
r status | head -n 1
crash fsd2
need wait_until 10 not copy_is fsd2 syncing
back fsd2
check "killed in the middle and started again it is copied all the same" wait_healthy 120
check "both copies are equal" verify
tell load; tell stall
check "who uses the store has seen no error" finish load
check "nor has the small program" finish stall
echo "a small read, or write with fsync, waited at most: $(cat "$(output_of stall)")"
crash fsd2
need wait_until 10 copy_is fsd2 stale
crash fsd1
need wait_until 20 has_leader
fails_with "the last copy in sync is not given up" "only one of its pair that has everything" r replace fsd1
back fsd1 fsd2
need wait_healthy 60
crash fsd1
right() { (cd "$MNT" && sha256sum --quiet -c "$CASE_DIR/sums"); }
check "the new one serves alone what it was given" right
back fsd1
need wait_healthy 60

need r stop fsd2
need mv "$data/fsd2" "$CASE_DIR/second2"
need mv "$CASE_DIR/old2" "$data/fsd2"
refused "the old one is refused for good" fsd2
need mv "$data/fsd2" "$CASE_DIR/old2"
need mv "$CASE_DIR/second2" "$data/fsd2"
back fsd2
need wait_healthy 60

# More than is copied in a moment, while a small program uses that pair.
took() { sed -n "s/.* $2=\\([0-9]*\\).*/\\1/p" "$(output_of "$1")"; }
copied_anew() { # WHAT
  local before="before-$1" during="during-$1" plain="plain-$1" used
  sync -f "$MNT"
  used=$(on_pair 1 stall)
  begin "$before" exec "$BIN/probe" stall "${used%/*}" 500
  need finish "$before"
  need r stop fsd2
  need mv "$data/fsd2" "$CASE_DIR/before-$1"
  need r replace fsd2
  back fsd2
  need wait_until 30 copying 0
  begin "$during" exec "$BIN/probe" stall "${used%/*}"
  # On the same disk: what makes that wait makes everything wait.
  need mkdir "$CASE_DIR/plain-$1"
  begin "$plain" exec "$BIN/probe" stall "$CASE_DIR/plain-$1"
  check "$1: all of it is copied while the pair is in use" wait_healthy 180
  tell "$during"; tell "$plain"
  need finish "$plain"
  check "$1: which sees no error" finish "$during"
  echo "# $CASE: $1: reads and writes with fsync before: $(cat "$(output_of "$before")"), while all was copied: $(cat "$(output_of "$during")"), on a plain directory meanwhile: $(cat "$(output_of "$plain")")" | tee /dev/fd/3
  within "$1: in the median they take no more than twice as long" 1 $((2 * $(took "$before" median_us))) "$(took "$during" median_us)"
  within "$1: nor do all but one in a hundred take much longer than on a plain directory" 1 \
    $((3 * $(took "$before" p99_us) + 60000 + $(took "$plain" p99_us))) "$(took "$during" p99_us)"
  within "$1: and that was measured for a while" 200 1000000 "$(took "$during" rounds)"
  rm -r "${used%/*}"
}
need mkdir "$MNT/many"
for n in $(seq 1 40); do need dd if=/dev/urandom of="$MNT/many/$n" bs=1M count=40 status=none; done
copied_anew large
rm -r "$MNT/many"
need probe tree "$MNT/many" 6000 1
copied_anew small
rm -r "$MNT/many"

need r stop witness
need mv "$data/witness" "$CASE_DIR/old-witness"
refused "the witness with an empty directory is refused, too" witness
check "given up, it is replaced" r replace witness
back witness
check "and all is well" wait_healthy 60
need r stop witness
need mv "$data/witness" "$CASE_DIR/new-witness"
need mv "$CASE_DIR/old-witness" "$data/witness"
refused "its old one is refused" witness
need mv "$data/witness" "$CASE_DIR/old-witness"
need mv "$CASE_DIR/new-witness" "$data/witness"
back witness
need wait_healthy 60
check "the names are led by it if need be: one of each pair dies" crash fsd1 fsd3
check "and the rest serves" right
back fsd1 fsd3
need wait_healthy 60
check "verify finds nothing wrong" verify
