# limit: 1800
# only when asked
# stress-ng's stressors of file systems, each for SECONDS_EACH (5 unless set) with its own checks.
skip_without stress-ng
cluster_up
# Left out: bind-mount, binderfs, eventfd, ioprio, procfs (not about files of this kind), fiemap and verity (calls that
# are not offered, see docs/SEMANTICS.md), link and symlink (8,192 at a time and as many statfs: minutes for one round).
stress_passes "$MNT/s" "${SECONDS_EACH:-5}" access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup \
  fallocate fanotify fcntl file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io iomix \
  lease locka lockf lockofd mknod open rename sync-file touch utime xattr
check "verify finds nothing wrong" verify
