# Faults, each of which proves that it happened.

# crash NAME...: kill -9 at the same moment.
crash() {
  local name pids=()
  for name in "$@"; do pids+=("$(pid_of "$name")"); done
  need kill -KILL "${pids[@]}"
  for name in "${pids[@]}"; do need wait_until 10 gone "$name"; done
}

# disk_is_cut IMAGE DEVICE BYTES: cuts a mounted image short, and the device over it; all that lay behind gives errors. What is being
# written there just then makes the image longer again, and the device with it: to be waited for.
disk_is_cut() {
  truncate -s "$3" "$1" && losetup --set-capacity "$2" && [ "$(blockdev --getsize64 "$2")" -le "$3" ]
}

# gone PID: the process is no more, or only a zombie that nobody waited for and that has no thread left.
gone() {
  kill -0 "$1" 2> /dev/null || return 0
  [ "$(process_state "$1")" = Z ] && ! grep -qE '^State:.[^ZX]' "/proc/$1"/task/*/status 2> /dev/null
}
process_state() { sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2> /dev/null; }
stopped() { [ "$(process_state "$1")" = T ]; }

# hang NAME...: stops it as a machine that hangs would; `resume` lets it go on.
hang() {
  local name
  for name in "$@"; do
    need kill -STOP "$(pid_of "$name")"
    need wait_until 5 stopped "$(pid_of "$name")"
  done
}
resume() { local name; for name in "$@"; do need kill -CONT "$(pid_of "$name")"; done; }

# back NAME...: starts it again.
back() { local name; for name in "$@"; do need r start "$name"; done; }

# no_more_files SERVER: it may open no file, and take no connection, more than it has, and has noticed; until `more_files`.
no_more_files() {
  local pid said; pid=$(pid_of "$1") said=$(grep -c "$SHORT" "$DIR/log/$1.log")
  MOST_FILES=$(prlimit --pid "$pid" --nofile --output SOFT --noheadings | tr -d ' ')
  need prlimit --pid "$pid" --nofile="$(find "/proc/$pid/fd" -mindepth 1 | wc -l):"
  need wait_until 30 says_more "$1" "$said"
}
SHORT="Too many open files"
says_more() { [ "$(grep -c "$SHORT" "$DIR/log/$1.log")" -gt "$2" ]; }
more_files() { need prlimit --pid "$(pid_of "$1")" --nofile="$MOST_FILES:"; }

# The victims that every load has to survive: each server in turn, the witness, and one of each pair at once.
VICTIMS=(fsd1 fsd2 fsd3 fsd4 witness "fsd1 fsd3" "fsd2 fsd4")

# survives_each_victim: for each victim, a load on the mount is begun, the victim killed in the middle of it, and the
# load must go on and, once told to, end well; then the victim comes back. Meanwhile, from before the fault on until the
# load is told to end, a small program reads and writes on each pair, and must not wait for long. The case defines
#   load N        the load, which goes on until it is told to end (see `tell`, `in_rounds`)
#   progress N    prints how far it is, a number that only grows
#   outcome N     checks what the load left
#   START, MORE   the victim dies once progress is at START; the load is told to end once it made MORE after that
survives_each_victim() {
  local victim n=0 words at
  for victim in "${VICTIMS[@]}"; do
    n=$((n + 1)) words=${victim// / and }
    begin_small
    begin "load$n" load "$n"
    need wait_until 60 progressed "$n" "${START:-100}"
    # shellcheck disable=SC2086
    crash $victim
    at=$(progress "$n")
    check "it goes on when $words died" wait_until 60 progressed "$n" $((at + ${MORE:-20}))
    need running "load$n"
    # What its death sets going has happened by then.
    need wait_until 20 degraded
    end_small "$words died"
    tell "load$n"
    check "no program notices that $words died" finish "load$n"
    check "and nothing is missing or different" outcome "$n"
    # shellcheck disable=SC2086
    back $victim
    check "$words came back and is in sync" wait_healthy 60
  done
}
progressed() { [ "$(progress "$1")" -ge "$2" ]; }

# begin_small [PAIR...]: `probe stall`, a small read and a small write with fsync every 20 ms, on a file of each pair (or of
# those), and on a plain directory of the same disk: what makes that wait makes everything wait.
begin_small() {
  local pair
  [ $# -gt 0 ] || set -- 1 2
  SMALL_ON=("${@/#/small}")
  mkdir -p "$CASE_DIR/plain"
  for pair in "$@"; do
    [ -n "${SMALL[pair]:-}" ] || SMALL[pair]=$(on_pair "$pair" stall)
    need test -n "${SMALL[pair]}"
    : > "${SMALL[pair]}"
    begin "small$pair" exec "$BIN/probe" stall "${SMALL[pair]%/*}"
  done
  begin plain exec "$BIN/probe" stall "$CASE_DIR/plain"
  for pair in "$@"; do need wait_until 10 test -s "${SMALL[pair]}"; done
}
declare -a SMALL=() SMALL_ON=()

# end_small WHEN: ends them; none saw an error, and none waited for longer than SMALL_WAIT (nothing: however long) and what the
# one on the plain directory had to wait.
end_small() {
  local name errors=0 waits=
  for name in "${SMALL_ON[@]}" plain; do tell "$name"; done
  for name in "${SMALL_ON[@]}" plain; do finish "$name" || errors=1; done
  for name in "${SMALL_ON[@]}"; do waits+="${waits:+ and }$(waited "$name")"; done
  echo "# $CASE: $1: a small program waited $waits ms at most, $(waited plain) ms on a plain directory; errors: $errors" | tee /dev/fd/3
  for name in "${SMALL_ON[@]}" plain; do echo "$name: $(cat "$(output_of "$name")")"; done
  check "no small program sees an error when $1" [ $errors = 0 ]
  [ -z "$SMALL_WAIT" ] || within "nor waits for over $SMALL_WAIT ms more than on a plain directory" 0 $((SMALL_WAIT + $(waited plain))) \
    "$(longest "${SMALL_ON[@]}")"
}
# In milliseconds. 200 are promised, of a release build that has its machine for itself. A debug build, with the load on two
# cores, keeps programs waiting for each other without any fault: of it no more is asked than that a server that died is not
# taken for one that hangs, which would be 1,500.
optimised && SMALL_WAIT=200 || SMALL_WAIT=1500

# A mount that ends takes its programs' open files with it: they are told, and another mount serves. In milliseconds since the
# fault, from `fault_at` on.
fault_at() { FAULT_AT=$(date +%s%N); }
since_fault() { echo $((($(date +%s%N) - FAULT_AT) / 1000000)); }
# mount_ended WHEN MILLIS NAME...: ends these loads, each of which must have got an error; says how many did, and that the
# store could be used again MILLIS after the fault.
mount_ended() {
  local when=$1 millis=$2 name errors=0; shift 2
  for name in "$@"; do tell "$name"; finish "$name" || errors=$((errors + 1)); done
  echo "# $CASE: $when: used again after $millis ms; errors: $errors, of $# programs on the mount that ended" | tee /dev/fd/3
  same "$when: each program on it was told so" $# $errors
}

# come_and_go GAP: until told, kills the servers in turn, one at a time, every GAP seconds, and starts each again after as
# long; then it waits until both copies of everything are in sync. A load, begun by `begin faults come_and_go 2`; each
# round that was a fault in full is a line of its output.
come_and_go() {
  local gap=$1 name
  # Heard between two steps; not ignored, which the servers that are started here would inherit.
  trap : TERM
  while :; do
    for name in fsd1 fsd3 witness fsd2 fsd4; do
      wait_until "$gap" told faults && return
      echo "$name" >> "$CASE_DIR/kills"
      crash "$name"
      need degraded_within 20
      wait_until "$gap" told faults
      back "$name" >&2
      need wait_healthy 90 >&2
      echo "$name"
    done
  done
}
degraded_within() { wait_until "$1" not healthy; }

kills() { cat "$CASE_DIR/kills" 2> /dev/null | wc -l; }

# part WHAT COMMAND...: a part of what is done while they do: the command, with a seed as its last word, and again with the
# next one until a server has been killed in the middle of it; for PART_MAX seconds at most. The seed goes on in `seed`.
part() {
  local what=$1 first=$seed began=$SECONDS before times=0 in_it; shift
  before=$(kills)
  while :; do
    times=$((times + 1))
    "$@" "$seed" || { not_ok "$what, seed $seed"; return 1; }
    in_it=$(($(kills) - before))
    [ $in_it -eq 0 ] && [ $((SECONDS - began)) -lt $PART_MAX ] || break
    seed=$((seed + 1))
  done
  ok "$what, seed $first$([ $times -eq 1 ] || echo " to $seed")"
  within "servers were killed in it: $in_it" 1 1000000 $in_it
}
PART_MAX=90

# while_servers_come_and_go GAP ROUNDS COMMAND...: runs the command, a function of checks, once while they do; there must
# have been ROUNDS faults at least, else it proves nothing.
while_servers_come_and_go() {
  local gap=$1 rounds=$2; shift 2
  begin faults come_and_go "$gap"
  "$@"
  wait_until 120 lines_at_least "$(output_of faults)" "$rounds"
  tell faults
  check "servers came and went meanwhile, $(lines "$(output_of faults)") times" finish faults
  within "at least $rounds times" "$rounds" 1000000 "$(lines "$(output_of faults)")"
}
lines() { wc -l < "$1"; }

# chunk_file SERVER FILE: its first chunk there.
chunk_file() {
  local ino; ino=$(stat -c %i "$2")
  printf '%s/data/%s/chunks/%013x/%016x' "$DIR" "$1" $((ino >> 12)) "$ino"
}
# flip SERVER FILE AT: a bit of a byte of it.
flip() { flip_in "$(chunk_file "$1" "$2")" "$3"; }
# flip_in FILE AT: a bit of a byte of a server's file.
flip_in() {
  local byte; byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
  need test -n "$byte"
  printf "\\x$(printf %x $((byte ^ 4)))" | need dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# no_more_threads SERVER: it may have no thread more than it has, by a control group of its own; until `more_threads`.
no_more_threads() {
  local pid; pid=$(pid_of "$1")
  THREADS_HOME=$PIDS$(sed -n "s/^[0-9]*:$PIDS_NAME:\(.*\)/\1/p" "/proc/$pid/cgroup")
  THREADS=$PIDS/raidfs-$$
  need mkdir -p "$THREADS"
  need write_to "$THREADS/cgroup.procs" "$pid"
  need write_to "$THREADS/pids.max" "$(cat "$THREADS/pids.current")"
}
more_threads() {
  [ -n "${THREADS:-}" ] || return
  local pid
  echo max > "$THREADS/pids.max"
  while read -r pid; do echo "$pid" > "$THREADS_HOME/cgroup.procs"; done < "$THREADS/cgroup.procs"
  rmdir "$THREADS"
  THREADS=
}
write_to() { echo "$2" > "$1"; }
# How many threads it was refused.
threads_refused() { sed -n 's/^max //p' "$THREADS/pids.events"; }
threads_are_refused() { [ "$(threads_refused)" -gt "${1:-0}" ]; }

# can_limit_threads: whether control groups that count threads can be made here (version 2, or the first with `pids`).
can_limit_threads() {
  if grep -qw pids /sys/fs/cgroup/cgroup.subtree_control 2> /dev/null; then
    PIDS=/sys/fs/cgroup PIDS_NAME=
  else
    PIDS=/sys/fs/cgroup/pids PIDS_NAME=pids
  fi
  mkdir "$PIDS/raidfs-$$" 2> /dev/null && [ -e "$PIDS/raidfs-$$/pids.max" ] && rmdir "$PIDS/raidfs-$$"
}
