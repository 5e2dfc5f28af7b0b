# limit: 60
# mount.raidfs, by which `mount -t raidfs CONFIG MOUNTPOINT` and lines of fstab work.
cluster_up
echo kept > "$MNT/f"
need r stop mountd
mkdir -p "$MNT"
helper() { PATH=$BIN:$PATH sh "$LIB/../../../packaging/mount.raidfs" "$@" -o "log=$CASE_DIR/mount.log"; }
check "it mounts, and returns when the mount is there" helper "$DIR/raidfs.toml" "$MNT" -o rw,noatime,_netdev,nofail
same "with what is in the store" kept "$(cat "$MNT/f")"
check "umount" umount "$MNT"
refuse "takes it away" mounted
server_of_mount() { r status | sed -n 's/^session:.*(pid \([0-9]*\)).*/\1/p'; }
# over_a_dead_one WORDS COMMAND...: mounts, kills, and mounts again by the command, which must come to an end.
over_a_dead_one() {
  local words=$1 pid
  shift
  need helper "$DIR/raidfs.toml" "$MNT"
  need stat "$MNT"
  pid=$(server_of_mount)
  need kill -KILL "$pid"
  need wait_until 10 gone "$pid"
  check "$words" "$@"
  same "once" 1 "$(grep -cF " $MNT " /proc/self/mountinfo)"
  same "with what is in the store" kept "$(cat "$MNT/f")"
  check "umount" wait_until 10 umount "$MNT"
}
export -f helper
export BIN LIB CASE_DIR
over_a_dead_one "a mount that died makes way, though the kernel remembers its attributes" \
  timeout 40 bash -c 'helper "$@"' - "$DIR/raidfs.toml" "$MNT"
check "read-only" helper "$DIR/raidfs.toml" "$MNT" -o ro
fails_with "nothing is written then" "Read-only" touch "$MNT/g"
fails_with "a second mount at the same place is refused" "mounted" helper "$DIR/raidfs.toml" "$MNT"
check "umount" umount "$MNT"
mkdir "$CASE_DIR/a place"
check "a mount point with a blank in its name" timeout 20 sh -c 'PATH=$1:$PATH; shift; sh "$@"' - "$BIN" \
  "$LIB/../../../packaging/mount.raidfs" "$DIR/raidfs.toml" "$CASE_DIR/a place" -o "log=$CASE_DIR/mount.log"
same "with what is in the store" kept "$(cat "$CASE_DIR/a place/f")"
# Whoever looks at each new mount of the machine may be in it for a moment.
check "umount" wait_until 10 umount "$CASE_DIR/a place"
fails_with "an unknown option is refused" "unknown mount option" helper "$DIR/raidfs.toml" "$MNT" -o nonsense
says_only() { helper "$DIR/raidfs.toml" "$MNT" -o frobnicate 2>&1 | grep -c nonsense; }
same "errors of earlier tries are not shown again" 0 "$(says_only)"
sed '$a nonsense = 5' "$DIR/raidfs.toml" > "$CASE_DIR/spoilt.toml"
fails_with "what is wrong in a configuration is said with the file's name" "^mountd: $CASE_DIR/spoilt.toml: TOML parse error" \
  helper "$CASE_DIR/spoilt.toml" "$MNT"
# What umount(8) calls, once it is installed.
check "mount" helper "$DIR/raidfs.toml" "$MNT"
pid=$(server_of_mount)
need dd if=/dev/zero of="$MNT/large" bs=1M count=40 status=none
check "umount by the helper" sh "$LIB/../../../packaging/umount.raidfs" "$MNT"
# A case that runs beside may have taken a copy of all mounts into a namespace of its own: then mountd serves that one still.
ended_or_held() { gone "$pid" || grep -qsF " $MNT " /proc/[0-9]*/mountinfo; }
check "mountd has ended by then" ended_or_held
refuse "and nothing is mounted" mounted
fails_with "a second time it says so" "not mounted" sh "$LIB/../../../packaging/umount.raidfs" "$MNT"
check "mount" helper "$DIR/raidfs.toml" "$MNT"
begin sitter bash -c 'cd "$1" && echo here && exec tail -f /dev/null' - "$MNT"
need wait_until 10 lines_at_least "$(output_of sitter)" 1
fails_with "a mount in use is refused" "busy" sh "$LIB/../../../packaging/umount.raidfs" "$MNT"
check "with -l it is taken away, and nobody is waited for" timeout 10 sh "$LIB/../../../packaging/umount.raidfs" "$MNT" -l
tell sitter
finish sitter
check "what was written is there" helper "$DIR/raidfs.toml" "$MNT"
same "all of it" 41943040 "$(stat -c %s "$MNT/large")"
check "umount" sh "$LIB/../../../packaging/umount.raidfs" "$MNT"
check "mount, for one at another place" helper "$DIR/raidfs.toml" "$MNT"
need mkdir "$CASE_DIR/second"
fails_with "which is refused with the option that helps" "mount -o takeover. ends that mount" helper "$DIR/raidfs.toml" "$CASE_DIR/second"
check "and mounted with it" helper "$DIR/raidfs.toml" "$CASE_DIR/second" -o takeover
check "umount" wait_until 10 umount "$CASE_DIR/second"
need umount -l "$MNT"
fails_with "-o without options is refused" "-o needs options" \
  sh "$LIB/../../../packaging/mount.raidfs" "$DIR/raidfs.toml" "$MNT" -o
fails_with "a missing configuration too" "cannot read the configuration" helper "$CASE_DIR/none" "$MNT"
fails_with "and a missing mount point" "cannot use the mount point $CASE_DIR/none: No such file" helper "$DIR/raidfs.toml" "$CASE_DIR/none"
fails_with "also one below a missing directory" "cannot use the mount point $CASE_DIR/none/x: the directory above" \
  helper "$DIR/raidfs.toml" "$CASE_DIR/none/x"
refuse "nothing was made there" test -e "$CASE_DIR/none"
refuse "and nothing of all that is mounted" grep -qF " $CASE_DIR" /proc/self/mountinfo
