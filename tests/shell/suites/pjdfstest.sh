# limit: 180
# The whole of pjdfstest, as root, with users and groups that every Debian has.
skip_without pjdfstest
cluster_up
pjdfstest_passes "$MNT/p"
check "verify finds nothing wrong" verify
