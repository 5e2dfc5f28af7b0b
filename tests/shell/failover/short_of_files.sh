# limit: 180
# A server can open no file, and take no connection, more: it is put aside, programs see no error and wait at most 1.5 s, and
# when it can again it comes back by itself.
skip_without prlimit
source "$LIB/watch.sh"
cluster_up
deaf() { r status > /dev/null; grep -q "cannot accept connections" "$DIR/log/$victim.log"; }

for victim in "$(follower)" "$(leader)"; do
  pid=$(pid_of "$victim")
  watch
  no_more_files "$victim"
  need wait_until 20 deaf
  check "$victim is short of files: the programs go on" moves_on
  more_files "$victim"
  check "when it can open files again, all is in sync" wait_healthy 60
  watched "$victim is short of files" 1500
  same "it is the same process" "$pid" "$(pid_of "$victim")"
  same "it said once that it takes no connections, however many it was asked for" 1 "$(grep -c "cannot accept connections" "$DIR/log/$victim.log")"
done
over() { r status > /dev/null; grep -qE "connections are accepted again, after [0-9]+ tries" "$DIR/log/$victim.log"; }
check "and once that it is over, with how many there were" wait_until 30 over
check "verify finds nothing wrong" verify
