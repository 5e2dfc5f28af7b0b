# limit: 180
# Each operation on the disk of the server that leads takes a second, while programs only read and write in place: no change of
# names makes it fall silent, so that it may notice by its chunks alone, and its log is on that disk, too. Programs wait at most 1.5 s and see no
# error, it is put aside, and let back when its disk is quick again.
skip_without strace
source "$LIB/disks.sh"
cluster_up

SMALL_WAIT=1500
for round in 1 2; do
  victim=$(leader)
  what="round $round: $victim's disk is slow"
  begin_small
  faulty "$victim" delay_enter=1000000 $DISK_CALLS
  check "$what: it is put aside" wait_until 20 put_out "$victim"
  check "$what: its operations were" had_faults "$victim"
  end_small "$what"
  faultless "$victim"
  check "$what: when it is well it is let back" wait_healthy 90
done
check "verify finds nothing wrong" verify
