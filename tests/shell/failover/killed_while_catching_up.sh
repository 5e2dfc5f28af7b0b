# limit: 300
# A server is killed again in the middle of catching up, and its source too: no harm.
need probe tree "$CASE_DIR/tree" 1500 4
cluster_up
crash fsd4
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
back fsd4
check "the third time it gets there" wait_healthy 90
check "all files are right" same_trees "$CASE_DIR/tree" "$MNT/new"
crash fsd3
check "and from its copy alone" same_trees "$CASE_DIR/tree" "$MNT/new"
back fsd3
check "all is healthy" wait_healthy 60
check "verify finds nothing wrong" verify
