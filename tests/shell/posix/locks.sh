# flock and fcntl locks between processes.
check "flock" probe flock f
check "fcntl" probe fcntl g
check "of two that wait for each other one is told" probe deadlock d
check "locks of open file descriptions" probe ofd o
# Waiting for a lock, and its end.
: > h
begin holder flock -x h sh -c 'echo here; exec tail -f /dev/null'
need wait_until 10 lines_at_least "$(output_of holder)" 1
waits() { grep -q locks_lock_inode_wait "/proc/$1/stack" 2> /dev/null || [ "$(process_state "$1")" = S ]; }
begin waiter flock -x h true
need wait_until 10 waits "${LOADS[waiter]}"
kill -TERM "${LOADS[waiter]}"
check "a process that waits for a lock can be ended" wait_until 5 gone "${LOADS[waiter]}"
begin waiter flock -x h true
need wait_until 10 waits "${LOADS[waiter]}"
kill -KILL "${LOADS[waiter]}"
check "and killed" wait_until 5 gone "${LOADS[waiter]}"
check "a time limit holds" test "$(flock -w 0.1 -E 9 h true; echo $?)" = 9
begin waiter flock -x h echo got
need wait_until 10 waits "${LOADS[waiter]}"
need kill -KILL "$(pgrep -P "${LOADS[holder]}")" "${LOADS[holder]}"
check "a lock ends with its holder, and goes to who waits" finish waiter

# The same for ranges, of a process and of an open file description: each waits in the kernel until it gets it, or ends.
asks() { [ "$(cat "$(output_of waiter)")" = asks ] && waits "${LOADS[waiter]}"; }
for of in posix ofd; do
  begin holder exec "$BIN/probe" lock r $of
  need wait_until 10 lines_at_least "$(output_of holder)" 2
  for signal in TERM KILL; do
    begin waiter exec "$BIN/probe" lock r $of
    need wait_until 10 asks
    kill -$signal "${LOADS[waiter]}"
    check "who waits for a lock of a range ($of) ends by SIG$signal" wait_until 5 gone "${LOADS[waiter]}"
  done
  begin waiter exec "$BIN/probe" lock r $of
  need wait_until 10 asks
  need kill -KILL "${LOADS[holder]}"
  check "a lock ($of) ends with its holder, and goes to who waits" wait_until 10 lines_at_least "$(output_of waiter)" 2
  tell waiter
  check "who has it" finish waiter
done
