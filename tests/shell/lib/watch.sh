# Who uses the store while something fails: on each pair a small program that must not wait for long, a log that is synced
# line by line, and one that makes, moves, reads back and removes files. All check what they read.

WATCHERS="stall1 stall2 log1 log2 checked plain"

# watch: begins all of them. The same small program runs on a plain directory of this machine: what makes that wait makes
# everything wait.
watch() {
  local pair
  WATCH=$((${WATCH:-0} + 1))
  need mkdir -p "$MNT/checked$WATCH" "$CASE_DIR/plain"
  : > "$CASE_DIR/rounds"
  rm -f "$CASE_DIR"/*.told
  for pair in 1 2; do
    [ -n "${STALL[$pair]:-}" ] || STALL[pair]=$(on_pair $pair stall)
    LOG[pair]=$(on_pair $pair "log$WATCH")
    begin stall$pair exec "$BIN/probe" stall "${STALL[$pair]%/*}"
    begin log$pair exec "$BIN/probe" log "${LOG[$pair]}"
  done
  begin plain exec "$BIN/probe" stall "$CASE_DIR/plain"
  begin checked in_rounds checked checked_round
  need moves_on 20
}
declare -a STALL=() LOG=()

# One round: a file is written under one name, moved to another, and read back past all caches of the kernel; so is an
# older one, which then goes.
checked_round() {
  local n=$1 dir=$MNT/checked$WATCH old=$(($1 - 10)) began=${EPOCHREALTIME/./} step
  step=$began STEPS=
  seq "$n" $((n + 700)) > "$dir/new" && took make && mv "$dir/new" "$dir/$n" && took move || return 1
  has_numbers "$dir/$n" "$n" && took read || return 1
  [ $old -le 0 ] || { has_numbers "$dir/$old" $old && took read && rm "$dir/$old" && took remove; } || return 1
  echo "$(((step - began) / 1000))$STEPS" >> "$CASE_DIR/rounds"
}
took() { local now=${EPOCHREALTIME/./}; STEPS+=" $1=$(((now - step) / 1000))" step=$now; }
# Of all rounds, the one part that took longest.
longest_step() { awk '{ for (i = 2; i <= NF; i++) { sub(/.*=/, "", $i); if ($i + 0 > most) most = $i + 0 } } END { print most + 0 }' "$CASE_DIR/rounds"; }
has_numbers() { cmp <(dd if="$1" iflag=direct bs=64k status=none) <(seq "$2" $(($2 + 700))) >&2; }

# moves_on [SECONDS]: the logs on both pairs and the load with names get further, from now.
moves_on() {
  local name ok=0
  declare -A had=()
  for name in log1 log2 checked; do had[$name]=$(lines "$(output_of $name)"); done
  for name in log1 log2 checked; do
    wait_until "${1:-5}" lines_at_least "$(output_of $name)" $((${had[$name]} + 3)) || { echo "$name does not"; ok=1; }
  done
  return $ok
}

# watched WHAT MILLIS: ends them. None saw an error or a byte that is wrong, and none waited for longer than that. What the
# program on the plain directory had to wait is the machine's own, and comes on top.
watched() {
  local what=$1 bound=$2 name fine=1 longest
  for name in $WATCHERS; do tell "$name"; done
  for name in $WATCHERS; do finish "$name" || fine=0; done
  sort -n "$CASE_DIR/rounds" | tail -n 5
  longest=$(longest_step)
  echo "# $CASE: $what: waited at most $(waited stall1) and $(waited stall2) ms for a read or a write with fsync (on a plain" \
    "directory $(waited plain) ms), $longest ms to make, move, read or remove a file; errors: $((1 - fine))" | tee /dev/fd/3
  for name in stall1 stall2; do echo "$name: $(cat "$(output_of "$name")")"; done
  check "$what: no program saw an error" [ $fine = 1 ]
  for name in 1 2; do
    check "$what: every synced line is there" probe log-check "${LOG[$name]}" "$(output_of "log$name")"
  done
  bound=$((bound + $(waited plain)))
  within "$what: no wait over $2 ms ($(waited stall1) ms, $(waited stall2) ms)" 0 "$bound" \
    "$(longest stall1 stall2)"
  within "$what: nor for names ($longest ms)" 0 "$bound" "$longest"
}
