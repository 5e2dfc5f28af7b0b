# limit: 180
# A store of one pair, and one of three: made, used without one of its servers, whole again, verified, taken down.
same_sums() { sums "$MNT" | diff "$1" -; }
for servers in 2 6; do
  DIR=$CASE_DIR/c$servers MNT=$CASE_DIR/mnt$servers
  need "$BIN/raidfs" up --dir "$DIR" --mount "$MNT" --base-port "$PORT" --servers $servers
  check "$servers servers: it is healthy" wait_healthy 30
  same "it has so many, and the witness" "$servers true" "$(ls "$DIR/data" | grep -c '^fsd') $(json "/servers/$servers/witness")"
  same "and so many pairs" $((servers / 2)) "$(for pair in 0 1 2 3; do json "/pairs/$pair/servers/0"; done | grep -c .)"
  need mkdir "$MNT/d"
  for i in $(seq 60); do head -c 20000 /dev/urandom > "$MNT/d/$i" || need false; done
  need dd if=/dev/urandom of="$MNT/large" bs=1M count=30 conv=fsync status=none
  need truncate -s 30M "$MNT/holes"
  for at in 9 21; do # chunks 2 and 5
    need dd if=/dev/urandom of="$MNT/holes" bs=20000 count=1 seek=${at}MiB oflag=seek_bytes conv=notrunc,fsync status=none
  done
  holes=$(stat -c %i "$MNT/holes")
  holders=$(for n in $(seq "$servers"); do printf 'fsd%s ' "$n"; done)
  same "a large file lies on all of them" "$holders" "$(holders_of "$MNT/large")"
  sums "$MNT" > "$CASE_DIR/sums$servers"
  victim=fsd$servers
  crash "$victim"
  echo 3 > /proc/sys/vm/drop_caches
  check "without $victim everything is read" same_sums "$CASE_DIR/sums$servers"
  check "and written" cp -r "$MNT/d" "$MNT/e"
  check "meanwhile it is degraded" wait_until 20 degraded
  back "$victim"
  check "it comes back" wait_healthy 60
  crash "$(mirror_of "$victim")"
  echo 3 > /proc/sys/vm/drop_caches
  check "and serves alone what it missed" same_trees "$MNT/d" "$MNT/e"
  back "$(mirror_of "$victim")"
  need wait_healthy 60
  old=$(leader)
  crash "$old"
  check "its leader ($old) dies, and names change" mv "$MNT/e" "$MNT/f"
  back "$old"
  need wait_healthy 60
  check "verify finds nothing wrong" verify
  check "down" r down
  refuse "nothing is mounted" mounted
  check "export takes no hole for a loss" "$BIN/raidfs" export --data "$DIR/data/fsd2" --list
  [ $servers = 2 ] || continue
  # All of the file is here, so that the number of its blocks tells.
  need rm "$DIR/data/fsd2/chunks/$(printf '%013x/%016x.d/00000005' $((holes / 4096)) "$holes")"
  fails_with "but a chunk's file that is gone it misses" "holes: 5 blocks of 4 KiB are gone with some of the chunks 0, 1, 3, 4, 5, 6 and 7," \
    "$BIN/raidfs" export --data "$DIR/data/fsd2" --list
done
