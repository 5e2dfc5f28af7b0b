# limit: 300
# bounds no time
# A server is killed again in the middle of catching up, and its source too: no harm. While the source is away, which alone
# has everything, what needs it waits, and goes on when it returns.
need probe tree "$CASE_DIR/tree" 1500 4
cluster_up
held=$(on_pair 2 held); need test -n "$held"
crash fsd4
echo missed > "$held"
need cp -a "$CASE_DIR/tree" "$MNT/new"
for i in 1 2 3 4 5 6; do need dd if=/dev/urandom of="$MNT/big$i" bs=1M count=20 status=none; done
need sync
# Whether it was on the way when it was killed: a fast one may have been there already, and is given more.
lines_of() { grep -c -- "$1" "$DIR/log/fsd4.log"; }
begun() { [ "$(lines_of 'is being brought up to date')" -gt "$1" ]; }
killed=0
for try in 1 2 3 4 5 6; do
  at=$(lines_of 'is being brought up to date') there=$(lines_of 'copy is in sync')
  need "$BIN/raidfs" start fsd4 --dir "$DIR"
  need wait_until 30 begun "$at"
  crash fsd4
  if [ "$(lines_of 'copy is in sync')" = "$there" ]; then
    killed=$((killed + 1))
  else
    need dd if=/dev/urandom of="$MNT/more$try" bs=1M count=$((try * 60)) status=none
    need sync
  fi
  [ $killed -lt 2 ] || break
done
same "it was killed twice on the way" 2 $killed
# Its source.
mirror_killed=0
for try in 7 8 9 10 11 12; do
  at=$(lines_of 'is being brought up to date') there=$(lines_of 'copy is in sync')
  need "$BIN/raidfs" start fsd4 --dir "$DIR"
  need wait_until 30 begun "$at"
  crash fsd3
  if [ "$(lines_of 'copy is in sync')" = "$there" ] && not copy_is fsd4 "in sync"; then
    mirror_killed=1
    break
  fi
  # It was there before: it serves alone, and misses more when it is killed in turn.
  back fsd3
  need wait_healthy 90
  crash fsd4
  need dd if=/dev/urandom of="$MNT/more$try" bs=1M count=$((try * 40)) status=none
  need sync
done
same "its source was killed while it was on the way" 1 $mirror_killed
echo 3 > /proc/sys/vm/drop_caches
begin reader cat "$held"
refuse "it does not serve alone: who reads waits" wait_until 2 not running reader
refuse "nor is it taken for whole" copy_is fsd4 "in sync"
back fsd3
check "when its source is back, who waited goes on" finish reader
same "and reads what is right" missed "$(cat "$(output_of reader)")"
check "it gets there after all" wait_healthy 90
check "all files are right" same_trees "$CASE_DIR/tree" "$MNT/new"
crash fsd3
check "and from its copy alone" same_trees "$CASE_DIR/tree" "$MNT/new"
back fsd3
check "all is healthy" wait_healthy 60
check "verify finds nothing wrong" verify
