# limit: 240
# only when asked
# The clock of one server, of the leader, of the mount jumps an hour forward, then back behind where it was: nothing depends
# on it but timestamps. Only the wall clock: the one that measures spans of time goes on, as on a real machine.
skip_without faketime
source "$LIB/watch.sh"
library=$(find /usr/lib -name libfaketimeMT.so.1 2> /dev/null | head -n 1)
need test -n "$library"
cluster_up

# with_clock NAME: it is started again with a clock that is set by `set_clock`.
with_clock() {
  echo +0 > "$CASE_DIR/clock"
  need r stop "$1"
  LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=$CASE_DIR/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
    DONT_FAKE_MONOTONIC=1 back "$1"
  need wait_healthy 60
}
set_clock() { echo "$1" > "$CASE_DIR/clock.new" && mv "$CASE_DIR/clock.new" "$CASE_DIR/clock"; }
# hours NAME: by how many hours the time of the last line of its log differs from now.
hours() {
  local said; said=$(tail -n 1 "$DIR/log/$1.log" | grep -oE '^[0-9T:.-]+Z')
  echo $(((($(date -d "$said" +%s) - $(date +%s)) + 3600 * 10 + 1800) / 3600 - 10))
}

# round WHAT NAME
round() {
  local what=$1 name=$2 before pid
  with_clock "$name"
  before=$(json /leader) pid=$(pid_of "$name")
  watch
  for jump in +3600 -3600 +0; do
    set_clock $jump
    check "$what jumps to $jump s: the programs go on" moves_on
    check "and all stays healthy" healthy
  done
  set_clock +3600
  same "$what: the same one leads" "$before" "$(leader)"
  same "$what: the process is the same" "$pid" "$(pid_of "$name")"
  : > "$MNT/by-clock"
  watched "$what" 300
  # That the clock was another one shows in what it writes.
  if [ "$name" = mountd ]; then
    within "files that are made get the mount's time" 3500 3700 $(($(stat -c %Y "$MNT/by-clock") - $(date +%s)))
  else
    need r stop "$name"
    same "its log has the hour" 1 "$(hours "$name")"
    back "$name"
  fi
  need wait_healthy 60
}
case $(leader) in fsd2) other=fsd3 ;; *) other=fsd2 ;; esac
round "a server's clock" $other
round "the leader's clock" "$(leader)"
round "the mount's clock" mountd
need r stop mountd
back mountd
check "verify finds nothing wrong" verify
