# limit: 120
# start, stop and kill of one process, and what status says of it.
cluster_up
same "a healthy cluster's exit code" 0 "$(r status > /dev/null; echo $?)"
check "stop" r stop fsd2
refuse "its pid file is gone" test -e "$DIR/run/fsd2.pid"
check "status names it and its mirror" wait_until 10 degraded
says "in the first line" "^degraded: fsd2 is down \(it was stopped\).*mirror fsd1 serves" r status
same "a degraded cluster's exit code" 1 "$(r status > /dev/null; echo $?)"
says "stopping it again says so" "does not run" r stop fsd2
check "start" r start fsd2
says "starting it again says so" "runs already" r start fsd2
check "it is healthy again" wait_healthy 30
# said WORDS: how often the servers' logs say so.
said() { cat "$DIR"/log/fsd*.log | grep -cE "$1"; }
says_more_often() { [ "$(said "$1")" -gt "$2" ]; }
lost_before=$(said "fsd3 is lost") back_before=$(said "fsd3 answers again") known=$(leader)
check "kill" r kill fsd3
says "status tells a crash from a stop" "fsd3 is down \(it was killed, or has ended by itself: see its log\)" r status
says "and what to do" "raidfs start fsd3" r status
check "start" r start fsd3
check "it is healthy again" wait_healthy 30
if [ "$known" != fsd3 ]; then
  check "the leader's log says that it is back" wait_until 10 says_more_often "fsd3 answers again" "$back_before"
  same "that it was lost, once, and why" "$((lost_before + 1))" "$(said "fsd3 is lost: its process is gone")"
  same "that it was put out, once" 1 "$(said "WARN fsd3 is evicted")"
fi
lost_before=$(said "witness is lost") back_before=$(said "witness answers again")
check "kill the witness" r kill witness
check "the log says that it is lost" wait_until 10 says_more_often "witness is lost: its process is gone" "$lost_before"
need r start witness
check "and that it is back" wait_until 10 says_more_often "witness answers again" "$back_before"
same "each once" "$((lost_before + 1)) $((back_before + 1))" "$(said "witness is lost") $(said "witness answers again")"
check "it is healthy again" wait_healthy 30
# Who was killed by another hand a moment ago does not count as running, though the kernel may not have ended it yet.
killed_and_started() {
  local n
  for n in 1 2 3 4 5 6 7 8; do need kill -KILL "$(pid_of fsd3)"; r start fsd3 | grep -v already || return 1; done
}
check "start at once after kill -9" killed_and_started
check "it is healthy again" wait_healthy 30
check "stop mountd unmounts" r stop mountd
refuse "nothing is mounted" mounted
check "start mountd mounts" r start mountd
check "there it is" mounted
fails_with "a name that there is not is refused" "there is no .fsd9" r start fsd9
