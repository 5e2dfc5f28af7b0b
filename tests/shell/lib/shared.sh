# The end of the shared cluster: what all its cases left is in order, and it goes down without a trace.
DIR=$SHARED/c
MNT=$SHARED/mnt
check "after all of them the cluster is healthy" wait_healthy 30
check "and verify finds nothing wrong" verify
check "it goes down" r down
refuse "nothing is mounted any more" mounted
