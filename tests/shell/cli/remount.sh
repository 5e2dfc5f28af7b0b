# limit: 120
# Remounting: read-only and back, and with other access times.
cluster_up
need r stop mountd
need mkdir -p "$MNT"
installed
fstab "nosuid"
need there mount "$MNT"
put() { there sh -c "echo $1 > $MNT/$2"; }
atime() { there stat -c %X "$MNT/$1"; }
aged() { need there touch -a -d 2001-01-01 "$MNT/$1"; }
is_old() { [ "$(atime "$1")" = "$(date -d 2001-01-01 +%s)" ]; }
read_is_seen() { aged "$1" && there cat "$MNT/$1" && ! is_old "$1"; }
need put one f

for how in "by its fstab line" "by the mount table alone"; do
  [ "$how" = "by its fstab line" ] || : > "$CASE_DIR/fstab"
  aged f
  check "$how it becomes read-only" there mount -o remount,ro "$MNT"
  check "and says so, and what it said before" options_are ro nosuid
  for change in "touch $MNT/g" "rm $MNT/f" "chmod 600 $MNT/f" "truncate -s 0 $MNT/f" "touch -a $MNT/f"; do
    # shellcheck disable=SC2086
    fails_with "then ${change%% *} fails" "Read-only" there $change
  done
  same "reading works" one "$(there cat "$MNT/f")"
  check "and moves no access time" is_old f
  check "and back" there mount -o remount,rw "$MNT"
  check "it says so" options_are rw nosuid
  check "it can be written to" put one f
  check "and reads move access times" read_is_seen f
done

check "noatime can be had later" there mount -o remount,noatime "$MNT"
aged f; need there cat "$MNT/f"
check "and holds at once" is_old f
check "nodiratime, too" there mount -o remount,relatime,nodiratime "$MNT"
aged .; need there ls "$MNT"
check "it is of directories" is_old .
check "and of nothing else" read_is_seen f
check "strictatime" there mount -o remount,strictatime,diratime "$MNT"
check "each read counts" read_is_seen f
need there touch -a "$MNT/f"; before=$(there stat -c %x "$MNT/f"); need there cat "$MNT/f"
refuse "though nothing was changed" test "$before" = "$(there stat -c %x "$MNT/f")"
check "and relatime again" there mount -o remount,relatime "$MNT"

need there ln -s f "$MNT/link"
check "links can be had not followed" there mount -o remount,nosymfollow "$MNT"
check "it says so" options_are nosymfollow nosuid
fails_with "they are not" "Too many levels of symbolic links" there cat "$MNT/link"
check "what else is changed leaves that as it is" there mount -o remount,noatime "$MNT"
check "as it says" options_are nosymfollow noatime
# mount(8) of util-linux 2.38 does not know this word as the opposite, and keeps both.
check "and followed again" there "$BIN/mountd" -o remount,symfollow,relatime "$MNT"
check "as it says" options_are -nosymfollow relatime
same "they are" "$(there cat "$MNT/f")" "$(there cat "$MNT/link")"

# What was mounted over it for a while, and where it is moved to, keeps nothing of that from being heard.
need there mount -t tmpfs over "$MNT"
need there umount "$MNT"
check "after something else was mounted over it noatime is heard" there mount -o remount,noatime "$MNT"
aged f; need there cat "$MNT/f"
check "and holds" is_old f
need mkdir "$CASE_DIR/moved"
need there mount --move "$MNT" "$CASE_DIR/moved"
check "after it was moved relatime is heard" there mount -o remount,relatime "$CASE_DIR/moved"
need there touch -a -d 2001-01-01 "$CASE_DIR/moved/f"
need there cat "$CASE_DIR/moved/f"
refuse "and holds" test "$(date -d 2001-01-01 +%s)" = "$(there stat -c %X "$CASE_DIR/moved/f")"
need there mount --move "$CASE_DIR/moved" "$MNT"

# Read-only from the start, whether fstab says so or the command line.
check "umount" there umount "$MNT"
for how in "by its fstab line" "by the command line"; do
  if [ "$how" = "by its fstab line" ]; then fstab "ro,nosuid"; at=""; else fstab "nosuid"; at="-o ro"; fi
  # shellcheck disable=SC2086
  check "$how it is mounted read-only" there mount $at "$MNT"
  check "and says so" options_are ro nosuid
  fails_with "nothing is written" "Read-only" there touch "$MNT/g"
  same "reading works" one "$(there cat "$MNT/f")"
  check "then it becomes writable" there mount -o remount,rw "$MNT"
  check "it says so" options_are rw nosuid
  check "it is written to" put "'$how'" g
  check "with all that needs the servers" there sh -c "mkdir $MNT/d && mv $MNT/g $MNT/d/g && chmod 640 $MNT/d/g && sync $MNT/d/g"
  check "and read-only again" there mount -o remount,ro "$MNT"
  check "it says so" options_are ro nosuid
  fails_with "nothing is written" "Read-only" there rm "$MNT/d/g"
  check "umount" there umount "$MNT"
  fstab "nosuid"
  check "and mounted anew" there mount "$MNT"
  same "it has what was written" "$how" "$(there cat "$MNT/d/g")"
  need there rm -r "$MNT/d"
  [ "$how" = "by the command line" ] || need there umount "$MNT"
done

begin writer there sh -c "exec 3> $MNT/open; echo here; exec tail -f /dev/null"
need wait_until 10 lines_at_least "$(output_of writer)" 1
fails_with "with a file open for writing it does not become read-only" "busy" there mount -o remount,ro "$MNT"
check "and stays as it was" put two f
check "umount -l while it is open" there umount -l "$MNT"
