# limit: 120
# Lines of fstab and options, by mount(8) with the helper that is installed.
cluster_up
echo kept > "$MNT/f"
need cp /usr/bin/id "$MNT/id"; need chown 1:1 "$MNT/id"; need chmod 6755 "$MNT/id"
need mknod "$MNT/null" c 1 3
need ln -s f "$MNT/link"
need r stop mountd
need mkdir -p "$MNT"
installed
runs_as() { there "$MNT/id" -u; }

fstab "defaults,_netdev,nofail,x-systemd.automount,x-anything=1,comment=hello"
check "mount -a mounts a line with everything that others read" there mount -a
same "with what is in the store" kept "$(there cat "$MNT/f")"
check "as usual" options_are rw relatime -nosuid -nodev -noexec
same "programs run, as whom the file says" 1 "$(runs_as)"
check "devices work" there sh -c "echo x > $MNT/null"
check "mount -a once more does nothing" there mount -a
same "it is mounted once" 1 "$(there grep -cF " $MNT " /proc/self/mountinfo)"
check "it is called what fstab calls it" there findmnt -S "$DIR/raidfs.toml"
check "umount by that name" there umount "$DIR/raidfs.toml"
refuse "takes it away" mounted_there

fstab "nosuid,nodev,noexec,noatime"
check "mount by the directory's name" there mount "$MNT"
check "with the options of its line" options_are nosuid nodev noexec noatime
fails_with "programs do not run" "Permission denied" runs_as
fails_with "devices do not open" "Permission denied" there sh -c "echo x > $MNT/null"
check "umount by the directory's name" there umount "$MNT"

fstab "user"
check "user" there mount "$MNT"
check "means what fstab(5) says" options_are nosuid nodev noexec
check "umount" there umount "$MNT"

fstab "noauto"
check "noauto waits until it is asked for" there mount -a
refuse "so it is not mounted" mounted_there
check "read-only by the command line" there mount -o ro "$MNT"
check "is read-only" options_are ro
fails_with "nothing is written" "Read-only" there touch "$MNT/g"
check "umount" there umount "$MNT"

for option in strictatime nodiratime lazytime relatime; do
  fstab "$option"
  check "$option" there mount "$MNT"
  case $option in strictatime) check "is taken" options_are -relatime -noatime ;; lazytime) ;; *) check "is taken" options_are "$option" ;; esac
  check "umount" there umount "$MNT"
done

fstab "nosymfollow"
check "nosymfollow" there mount "$MNT"
check "is taken" options_are nosymfollow
fails_with "links are not followed" "Too many levels of symbolic links" there cat "$MNT/link"
same "but read" f "$(there readlink "$MNT/link")"
check "umount" there umount "$MNT"

for options in mand,nomand iversion,noiversion silent,loud symfollow,lazytime,nolazytime; do
  fstab "$options"
  check "$options, which mount(8) has for every file system" there mount "$MNT"
  same "mounts as ever" kept "$(there cat "$MNT/link")"
  check "umount" there umount "$MNT"
done

fstab "nonsense"
fails_with "an unknown option is refused" "unknown mount option" there mount "$MNT"
touch "$MNT/hidden"
fstab "defaults"
fails_with "a directory with something in it, too" "not empty" there mount "$MNT"
fstab "nonempty"
check "unless it is asked for" there mount "$MNT"
refuse "what was in it is hidden" there test -e "$MNT/hidden"
check "umount" there umount "$MNT"
check "and back then" test -e "$MNT/hidden"
