# limit: 180
# A server can have no thread more, as in a full control group: it goes on with those that it has, and nobody notices.
can_limit_threads || {
  echo "ok - $CASE # SKIP no control groups that count threads can be made here" >&3
  exit 0
}
skip_without strace
source "$LIB/watch.sh"
source "$LIB/disks.sh"
trap 'more_threads; end_loads; exit' EXIT
cluster_up
need mkdir "$MNT/many"
# More syncs at a time than a server has idle threads.
many_syncs() {
  local n pid jobs=() fine=0
  for n in {1..32}; do
    dd if=/dev/zero of="$MNT/many/$n" bs=64k count=1 conv=notrunc,fsync status=none &
    jobs+=($!)
  done
  for pid in "${jobs[@]}"; do wait "$pid" || fine=1; done
  return $fine
}

for role in follower leader; do
  # Threads that were made stay: what has had many at once has enough of them.
  if [ $role = leader ]; then need r down; need r up; need wait_healthy 60; fi
  victim=$($role)
  pid=$(pid_of "$victim")
  watch
  # Then syncs pile up on any disk, however quick.
  faulty "$victim" delay_enter=30000 fdatasync
  no_more_threads "$victim"
  begin many in_rounds many many_syncs
  check "$victim is refused threads" wait_until 30 threads_are_refused
  check "$victim is short of threads: the programs go on" moves_on
  tell many
  check "and so do many at once" finish many
  echo "# $CASE: $victim was refused $(threads_refused) threads of more than $(cat "$THREADS/pids.max")" | tee /dev/fd/3
  more_threads
  faultless "$victim"
  check "when it can have more, all is in sync" wait_healthy 60
  watched "$victim is short of threads" 1500
  same "it is the same process" "$pid" "$(pid_of "$victim")"
  same "nothing in it has panicked" 0 "$(grep -c panicked "$DIR/log/$victim.log")"
done
check "verify finds nothing wrong" verify
