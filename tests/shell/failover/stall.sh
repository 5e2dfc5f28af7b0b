# limit: 240
# The longest wait of a small program, one small read and one small write with fsync every 20 ms, when servers are
# killed: 0.2 s. Each server in turn, the witness, the leader, and one server of each pair at the same moment, with the
# leader among them. One such program runs on a file of each pair, so that no victim is one that neither needs.
cluster_up
one_of_each() { # the leader, and a server of the other pair
  case $(leader) in fsd1 | fsd2) echo "$(leader) fsd4" ;; *) echo "$(leader) fsd2" ;; esac
}
pass() { [ "$(date +%s%N)" -ge "$1" ]; }
for pair in 1 2; do FILE[pair]=$(on_pair $pair stall); done
need test -n "${FILE[1]}"; need test -n "${FILE[2]}"

# round VICTIM SERVER...: kills the servers beside the small programs, which see no error; they come back. The same
# program runs on a plain directory of the same disk: what makes that wait makes everything wait.
round() {
  local victim=$1 pair; shift
  for pair in 1 2; do
    : > "${FILE[pair]}"
    begin "pair$pair" exec "$BIN/probe" stall "${FILE[pair]%/*}"
  done
  begin idle exec "$BIN/probe" stall "$plain"
  for pair in 1 2; do need wait_until 10 test -s "${FILE[pair]}"; done
  crash "$@"
  need wait_until 10 has_leader
  need wait_until 20 degraded
  need wait_until 5 pass $(($(date +%s%N) + 1500000000))
  tell pair1; tell pair2; tell idle
  for pair in 1 2; do check "no error on pair $pair when $victim ($*) is killed" finish "pair$pair"; done
  finish idle || :
  echo "killed $*: pair 1: $(cat "$(output_of pair1)"); pair 2: $(cat "$(output_of pair2)"); plain: $(cat "$(output_of idle)")"
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
    if [ "$(longest pair1 pair2)" -le 200 ] || [ "$(waited idle)" -lt 70 ]; then break; fi
    echo "try $try: the disk or the machine stood still by itself"
  done
  within "and no wait over 0.2 s ($(waited pair1) ms and $(waited pair2) ms)" 0 200 "$(longest pair1 pair2)"
done
check "verify finds nothing wrong" verify
