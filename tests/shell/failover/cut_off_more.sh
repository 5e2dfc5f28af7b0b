# limit: 300
# only when asked
# What `cut_off` leaves out: the leader is cut off, from all and from the mount only, or nobody can connect to it; a server
# hears nobody. Programs wait at most 1.5 s and see no error, and the servers do not elect without end.
skip_without nsenter
source "$LIB/network.sh"
source "$LIB/watch.sh"
source "$LIB/cuts.sh"
cluster_up

round "the leader cut off from all" leader_from_all
round "hearing nobody" from_nobody
round "the leader, which nobody can connect to" leader_shut
round "the leader cut off from the mount" from_mount "$(leader)"
check "verify finds nothing wrong" verify
