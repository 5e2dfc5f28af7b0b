# Who uses the store while something fails: on each pair a small program that must not wait for long, a log that is synced
# line by line, and one that makes, moves, reads back and removes files. All check what they read.

WATCHERS="stall1 stall2 log checked plain"

# places: for each pair a directory on the mount with a file in it that the pair holds, for `probe stall`.
places() {
  local n=0
  PLACE=()
  while [ -z "${PLACE[1]:-}" ] || [ -z "${PLACE[2]:-}" ]; do
    n=$((n + 1))
    need test $n -le 100
    need mkdir "$MNT/place$n"
    : > "$MNT/place$n/stall"
    case $(holders_of "$MNT/place$n/stall") in
      *fsd1*) PLACE[1]=$MNT/place$n ;;
      *fsd3*) PLACE[2]=$MNT/place$n ;;
    esac
  done
}

# watch: begins all of them. The same small program runs on a plain directory of this machine: what makes that wait makes
# everything wait.
watch() {
  [ -n "${PLACE[1]:-}" ] || places
  WATCH=$((${WATCH:-0} + 1))
  need mkdir -p "$MNT/checked$WATCH" "$CASE_DIR/plain"
  : > "$CASE_DIR/rounds"
  rm -f "$CASE_DIR"/*.told
  begin stall1 exec "$BIN/probe" stall "${PLACE[1]}"
  begin stall2 exec "$BIN/probe" stall "${PLACE[2]}"
  begin plain exec "$BIN/probe" stall "$CASE_DIR/plain"
  begin log exec "$BIN/probe" log "$MNT/log$WATCH"
  begin checked in_rounds checked checked_round
  need wait_until 20 lines_at_least "$(output_of log)" 5
  need wait_until 20 lines_at_least "$(output_of checked)" 2
}

# One round: a file is written under one name, moved to another, and read back past all caches of the kernel; so is an
# older one, which then goes.
checked_round() {
  local n=$1 dir=$MNT/checked$WATCH old=$(($1 - 10)) began=${EPOCHREALTIME/./}
  seq "$n" $((n + 700)) > "$dir/new" && mv "$dir/new" "$dir/$n" && is_right "$dir/$n" "$n" || return 1
  [ $old -le 0 ] || { is_right "$dir/$old" $old && rm "$dir/$old"; } || return 1
  echo $(((${EPOCHREALTIME/./} - began) / 1000)) >> "$CASE_DIR/rounds"
}
is_right() { cmp <(dd if="$1" iflag=direct bs=64k status=none) <(seq "$2" $(($2 + 700))) >&2; }

# moves_on: both the log and the other load get further, from now.
moves_on() {
  local log checked
  log=$(lines "$(output_of log)") checked=$(lines "$(output_of checked)")
  wait_until "${1:-10}" lines_at_least "$(output_of log)" $((log + 20)) &&
    wait_until "${1:-10}" lines_at_least "$(output_of checked)" $((checked + 3))
}

waited() { sed -n 's/^stall_ms=\([0-9]*\).*/\1/p' "$(output_of "$1")"; }

# watched WHAT MILLIS: ends them. None saw an error or a byte that is wrong, and none waited for longer than that. What the
# program on the plain directory had to wait is the machine's own, and comes on top.
watched() {
  local what=$1 bound=$2 name fine=1 longest
  for name in $WATCHERS; do tell "$name"; done
  for name in $WATCHERS; do finish "$name" || fine=0; done
  longest=$(sort -n "$CASE_DIR/rounds" | tail -n 1)
  echo "# $CASE: $what: waited at most $(waited stall1) and $(waited stall2) ms for a read or a write with fsync (on a plain" \
    "directory $(waited plain) ms), $longest ms for a round with names; errors: $((1 - fine))" | tee /dev/fd/3
  for name in stall1 stall2; do echo "$name: $(cat "$(output_of "$name")")"; done
  check "$what: no program saw an error" [ $fine = 1 ]
  check "$what: every synced line is there" probe log-check "$MNT/log$WATCH" "$(output_of log)"
  bound=$((bound + $(waited plain)))
  within "$what: no wait over $2 ms ($(waited stall1) ms, $(waited stall2) ms)" 0 "$bound" \
    "$(printf '%s\n' "$(waited stall1)" "$(waited stall2)" | sort -n | tail -n 1)"
  # A round is a dozen calls and as many processes.
  within "$what: nor for names ($longest ms)" 0 $((bound + 500)) "$longest"
}
