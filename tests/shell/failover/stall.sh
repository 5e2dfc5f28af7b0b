# limit: 240
# The longest wait of a small program, one small read and one small write with fsync every 20 ms, when servers are
# killed: 0.2 s. Each server in turn, the witness, the leader, and one server of each pair at the same moment, with the
# leader among them.
cluster_up
one_of_each() { # the leader, and a server of the other pair
  case $(leader) in fsd1 | fsd2) echo "$(leader) fsd4" ;; *) echo "$(leader) fsd2" ;; esac
}
# The longest wait that a probe printed, in milliseconds.
waited() { sed -n 's/^stall_ms=\([0-9]*\).*/\1/p' "$(output_of "$1")"; }
pass() { [ "$(date +%s%N)" -ge "$1" ]; }

# round VICTIM SERVER...: kills the servers beside the small program, which sees no error; they come back. The same
# program runs on a plain directory of the same disk: what makes that wait makes everything wait.
round() {
  local victim=$1; shift
  rm -f "$MNT/stall"
  begin stall exec "$BIN/probe" stall "$MNT"
  begin idle exec "$BIN/probe" stall "$plain"
  need wait_until 10 test -s "$MNT/stall"
  crash "$@"
  need wait_until 10 has_leader
  need wait_until 20 degraded
  need wait_until 5 pass $(($(date +%s%N) + 1500000000))
  tell stall; tell idle
  check "no error when $victim ($*) is killed" finish stall
  finish idle || :
  echo "killed $*: $(cat "$(output_of stall)"); plain: $(cat "$(output_of idle)")"
  back "$@"
  need wait_healthy 60
}
plain=$CASE_DIR/plain; mkdir "$plain"

for victim in fsd1 fsd2 fsd3 fsd4 witness leader "fsd1 and fsd3" "fsd2 and fsd4" "one of each pair"; do
  for try in 1 2 3; do
    case $victim in
      leader) who=$(leader) ;;
      "one of each pair") who=$(one_of_each) ;;
      *) who=${victim/ and / } ;;
    esac
    # shellcheck disable=SC2086
    round "$victim" $who
    # Over the bound counts, unless the machine itself stood still for a good part of it.
    if [ "$(waited stall)" -le 200 ] || [ "$(waited idle)" -lt 70 ]; then break; fi
    echo "try $try: the disk or the machine stood still by itself"
  done
  within "and no wait over 0.2 s ($(waited stall) ms)" 0 200 "$(waited stall)"
done
