# limit: 180
# A server is cut off: from all, from its mirror only, from the mount only, from the leader only, in one direction only,
# again and again. Programs wait at most 1.5 s and see no error, nothing old is shown on either side, and the servers do
# not elect without end. `cut_off_more` has the others.
skip_without nsenter
source "$LIB/network.sh"
source "$LIB/watch.sh"
source "$LIB/cuts.sh"
cluster_up

round "cut off from all" from_all
round "cut off from the mount" from_mount "$(follower)"
round "not heard by anybody" to_nobody
round "cut off from its mirror" from_mirror
round "cut off every second" flapping
round "cut off from the leader" from_leader
need wait_healthy 60
check "verify finds nothing wrong" verify
