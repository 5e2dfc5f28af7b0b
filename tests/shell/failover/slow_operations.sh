# limit: 240
# Each operation on a server's disk takes a second, and its process answers who asks whether it is there. Each of the four in turn, the
# leader among them: programs wait at most 1.5 s and see no error, the server is put aside, which `status` says, and let
# back when its disk is quick again.
skip_without strace
source "$LIB/watch.sh"
source "$LIB/disks.sh"
cluster_up

for victim in fsd1 fsd2 fsd3 fsd4; do
  what="$victim's disk is slow"
  [ "$victim" != "$(leader)" ] || what+=", which leads"
  watch
  faulty $victim delay_enter=1000000 $DISK_CALLS
  check "$what: it is put aside" wait_until 20 put_out $victim
  check "$what: its operations were" had_faults $victim
  check "$what: status says so" wait_until 5 slowness_is_said $victim
  check "$what: the programs go on" moves_on
  faultless $victim
  check "$what: when it is well it is let back" wait_healthy 90
  watched "$what" 1500
done
check "verify finds nothing wrong" verify
