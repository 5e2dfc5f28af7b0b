# limit: 240
# A server's disk hangs, or takes a second for everything, while its process answers: programs wait at most 1.5 s and see no
# error, the server is put aside, which `status` says, and let back when its disk is well. Each server has a disk of its own.
skip_without mkfs.ext4
skip_without fsfreeze
source "$LIB/watch.sh"
source "$LIB/disks.sh"
for name in fsd1 fsd2 fsd3 fsd4; do local_ext4 "$DIR/data/$name" 512M -m 0; done
cluster_up

thaw_all() { local n; for n in 1 2 3 4; do thaw fsd$n; done 2> /dev/null; }

# round WHAT SERVER COMMAND...: its disk is made bad by the command, and good again by `well`.
round() {
  local what=$1 victim=$2; shift 2
  watch
  "$@"
  check "$what: $victim is put aside" wait_until 20 put_out "$victim"
  check "$what: though its process is not stopped" not stopped "$(pid_of "$victim")"
  check "$what: status says so" wait_until 5 slowness_is_said "$victim"
  check "$what: the programs go on" moves_on
  well
  check "$what: when its disk is well it is let back" wait_healthy 90
  watched "$what" 1500
}
times_let_back() { cat "$DIR"/log/fsd?.log | grep -c "INFO $1 is in sync again"; }

# Who wrote to it now could not even be killed; that it is frozen shows in that it cannot be once more.
hangs() { freeze "$1"; fails_with "the disk of $1 takes nothing" "busy" fsfreeze --freeze "$DIR/data/$1"; }
well() { thaw_all; }

round "a disk hangs" "$(follower)" hangs "$(follower)"
leads=$(leader)
round "the leader's disk hangs" "$leads" hangs "$leads"

# Well for a moment now and then, it must not be let back each time, for everybody to wait for it again.
well() {
  local was
  was=$(times_let_back fsd2)
  pass_time 20000
  within "a disk is slow: fsd2 is let back now and then only" 0 5 $(($(times_let_back fsd2) - was))
  quick; thaw_all
}
round "a disk is slow" fsd2 slow fsd2
check "verify finds nothing wrong" verify
