# limit: 180
# A server is killed while its disk takes nothing: the threads that wait for the disk cannot be killed, so the process does not end, and
# what it has open stays open. It is known to be gone at once all the same, and programs wait no longer than for any other.
skip_without mkfs.ext4
skip_without fsfreeze
source "$LIB/disks.sh"
for name in fsd1 fsd2 fsd3 fsd4; do local_ext4 "$DIR/data/$name" 512M -m 0; done
cluster_up

waits_for_disk() { grep -qs "^State:.D" /proc/"$1"/task/*/status; }
losses_said() { cat "$DIR"/log/fsd?.log | grep -c "INFO $1 is lost: its process is gone"; }
more_losses_said() { [ "$(losses_said "$1")" -gt "$2" ]; }

# From when the disk hangs on, which takes a moment to be seen; by its silence alone it would be missed after 800 ms.
optimised && SMALL_WAIT=500
round() { # WHAT SERVER
  local what="$1, whose disk hangs, was killed" victim=$2 pid said
  pid=$(pid_of "$victim") said=$(losses_said "$victim")
  begin_small
  freeze "$victim"
  need wait_until 5 waits_for_disk "$pid"
  need kill -KILL "$pid"
  check "$what: it is said to be gone" wait_until 5 more_losses_said "$victim" "$said"
  refuse "$what: though the process has not ended" gone "$pid"
  check "$what: it is put out" wait_until 5 put_out "$victim"
  end_small "$what"
  need thaw "$victim"
  need wait_until 10 gone "$pid"
  back "$victim"
  check "$what: it came back and is in sync" wait_healthy 60
}
round "a follower" "$(follower)"
round "the leader" "$(leader)"
check "verify finds nothing wrong" verify
