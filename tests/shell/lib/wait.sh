# Waiting for conditions: the only place where time passes by itself.

# wait_until SECONDS COMMAND...: polls until the command succeeds; fails after SECONDS.
wait_until() {
  local deadline=$(($(date +%s%N) + $1 * 1000000000)); shift
  while ! "$@"; do
    [ "$(date +%s%N)" -ge "$deadline" ] && return 1
    sleep 0.03
  done
}

# millis COMMAND...: runs it and prints how many milliseconds it took; its output goes to the case's log.
millis() {
  local began; began=$(date +%s%N)
  "$@" >&2
  echo $((($(date +%s%N) - began) / 1000000))
}

# A condition for wait_until: a file has at least so many lines, or bytes.
lines_at_least() { [ "$(wc -l < "$1" 2> /dev/null || echo 0)" -ge "$2" ]; }
files_at_least() { [ "$(find "$1" -type f 2> /dev/null | head -n "$2" | wc -l)" -ge "$2" ]; }
not() { ! "$@"; }

# pass_time MILLIS: for faults that come and go by the clock; not for waiting until something has happened.
pass_time() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }
