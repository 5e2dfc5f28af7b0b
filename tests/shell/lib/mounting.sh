# Mounting as mount(8) does it: with the helper that `make install` installs, in namespaces of the case's own, so that
# neither /sbin nor the mounts of this machine are touched and everything ends with the case. And local file systems in
# images.

# installed: installs below the case's directory, and makes the namespaces in which /sbin is what was installed.
installed() {
  local sbin; sbin=$(readlink -f /sbin)
  installed_sbin
  # shellcheck disable=SC2016
  begin space unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    sh -c 'mount --bind "$1" "$2" && echo ready && exec tail -f /dev/null' - "$CASE_DIR/sbin" "$sbin"
  need wait_until 10 lines_at_least "$(output_of space)" 1
  SPACE=$(ps --ppid "${LOADS[space]}" -o pid= | tr -d ' ')
}

# installed_sbin: what /sbin is once raidfs is installed, as sbin in the case's directory.
installed_sbin() {
  [ -d "$CASE_DIR/sbin" ] && return
  need cp -a "$(readlink -f /sbin)" "$CASE_DIR/sbin"
  need "$LIB/../../../packaging/install" "$BIN" "" "$CASE_DIR/usr" "$CASE_DIR/sbin" "$CASE_DIR/etc"
}

# there COMMAND...: runs it there, with the case's own fstab.
there() { nsenter -t "$SPACE" -m -p env LIBMOUNT_FSTAB="$CASE_DIR/fstab" "$@"; }

# fstab OPTIONS: the line for the case's cluster.
fstab() { echo "$DIR/raidfs.toml $MNT raidfs $1,log=$CASE_DIR/mount.log 0 0" > "$CASE_DIR/fstab"; }

# options_are OPTION...: what is mounted has each of these, and with a - in front has it not.
options_are() {
  local have option; have=,$(there findmnt -no OPTIONS "$MNT"),
  echo "options: $have"
  for option in "$@"; do
    case $option in
      -*) case $have in *,"${option#-}",*) return 1 ;; esac ;;
      *) case $have in *,"$option",*) ;; *) return 1 ;; esac ;;
    esac
  done
}
mounted_there() { there mountpoint -q "$MNT"; }

# local_ext4 DIR SIZE MKFS-OPTION...: makes one in an image beside DIR, sparse, and mounts it there; `clean_below` takes
# it away.
local_ext4() {
  local dir=$1 size=$2; shift 2
  need mkdir -p "$dir"
  need truncate -s "$size" "$dir.img"
  need mkfs.ext4 -q -F "$@" "$dir.img"
  need mount -o loop,relatime "$dir.img" "$dir"
}
