# limit: 120
# mountd as a program in the foreground: whichever way its mount ends in order, it exits with 0, and what was written is
# there.
cluster_up
need r stop mountd
need mkdir -p "$MNT"
n=0
# ends HOW COMMAND...: it is mounted, written to, and ended by the command, which may use what is set here.
ends() {
  local how=$1 code; shift
  n=$((n + 1))
  begin foreground exec "$BIN/mountd" --config "$DIR/raidfs.toml" "$MNT"
  need wait_until 30 mounted
  daemon=${LOADS[foreground]}
  echo "$n" > "$MNT/f$n"
  check "$how" "$@"
  finish foreground; code=$?
  same "mountd exits with 0" 0 $code
  refuse "and nothing is mounted" mounted
}
term() { kill -TERM "$daemon"; }
interrupt() { kill -INT "$daemon"; }
ends "umount" umount "$MNT"
ends "SIGTERM" term
ends "SIGINT" interrupt
if command -v fusermount3 > /dev/null; then
  ends "fusermount3 -u" fusermount3 -u "$MNT"
else
  echo "ok - $CASE: fusermount3 -u # SKIP fusermount3 is not installed (make setup)" >&3
fi
crash fsd1 fsd2 fsd3 fsd4 witness
begin foreground exec "$BIN/mountd" --config "$DIR/raidfs.toml" "$MNT"
waits() { grep -q "waiting\|not reached" "$CASE_DIR/foreground.err" "$(output_of foreground)"; }
check "without servers it waits, and says so" wait_until 10 waits
need kill -TERM "${LOADS[foreground]}"
check "told to end while it waits, it does" wait_until 5 gone "${LOADS[foreground]}"
finish foreground; same "and exits with 0" 0 $?
need "$BIN/raidfs" up --dir "$DIR"
same "all that was written is there" "$(seq $n)" "$(cat "$MNT"/f*)"
check "verify finds nothing wrong" verify
