# limit: 180
# The whole of pjdfstest, as root, with users and groups that every Debian has.
skip_without pjdfstest
cluster_up
pjdfstest_passes "$MNT/p"
check "the mount had nothing to tell its operator" quiet
check "verify finds nothing wrong" verify
