# Servers with disks of their own: each is an image on a btrfs, whose snapshot is what the disks hold at that moment, without
# what was in memory only: neither what the server, nor what its file system, nor what its disk had not been told to keep.

DISKS=$CASE_DIR/disks
declare -A BOOT=()

# disks_up SIZE NAME...: makes one of that size for each, and puts it in.
disks_up() {
  local name
  DISK_SIZE=$1; shift
  export RAIDFS_BOOT_ID=boot0
  need truncate -s 16G "$DISKS.img"
  need mkfs.btrfs -q "$DISKS.img"
  need mkdir "$DISKS"
  need mount -o loop "$DISKS.img" "$DISKS"
  need btrfs -q subvolume create "$DISKS/live"
  for name in "$@"; do new_disk "$name"; done
}
image_of() { echo "$DISKS/live/$1.img"; }
insert() { # NAME...
  local name
  for name in "$@"; do need mount -o loop,errors=continue "$(image_of "$name")" "$DIR/data/$name"; done
}
# new_disk NAME: an empty one, in its place.
new_disk() {
  need mkdir -p "$DIR/data/$1"
  rm -f "$(image_of "$1")"
  need truncate -s "$DISK_SIZE" "$(image_of "$1")"
  need mkfs.ext4 -q -m 0 "$(image_of "$1")"
  insert "$1"
}

# cut_power NAME...: they stop at one moment, and all that is left of them is what their disks held then. Who is started
# again has been booted meanwhile: see `booted`.
cut_power() {
  local name cut=$DISKS/cut
  hang "$@"
  for name in "$@"; do echo unsynced > "$DIR/data/$name/unsynced"; done
  need btrfs -q subvolume snapshot "$DISKS/live" "$cut"
  crash "$@"
  for name in "$@"; do
    need umount "$DIR/data/$name"
    need cp --reflink=always "$cut/$name.img" "$(image_of "$name")"
    BOOT[$name]=$((${BOOT[$name]:-0} + 1))
  done
  need btrfs -q subvolume delete "$cut"
  insert "$@"
  for name in "$@"; do
    refuse "what was not synced is gone from the disk of $name" grep -qs . "$DIR/data/$name/unsynced"
    rm -f "$DIR/data/$name/unsynced"
  done
}
# booted NAME...: each started again, with the word of its machine that it lost power since, or that it did not.
booted() { local name; for name in "$@"; do RAIDFS_BOOT_ID=boot${BOOT[$name]:-0} back "$name"; done; }

# freeze NAME: its file system takes no change until `thaw`, which `clean_below` makes sure of.
freeze() { need fsfreeze --freeze "$DIR/data/$1"; }
thaw() { fsfreeze --unfreeze "$DIR/data/$1"; }

# slow NAME: frozen for 0.9 s of each second, until `quick`.
slow() {
  begin slowness in_rounds slowness slow_second "$1"
  need wait_until 10 lines_at_least "$(output_of slowness)" 1
}
slow_second() { freeze "$1" && pass_time 900 && thaw "$1" && pass_time 100; }
quick() { tell slowness; need finish slowness; }
# slowness_is_said NAME: by status. A disk that takes nothing keeps the server from answering what concerns the disk, so that it may
# be called hung.
slowness_is_said() { r status | head -n 1 | grep -E "$1('s copy is stale| hangs| has trouble with its disk| is being brought up to date)"; }

# faulty NAME HOW CALLS [FILE...]: these system calls of the server (on these files only) go as HOW says, in the words of
# `strace -e inject`, until `faultless NAME`. Sockets, and so its answers to whoever asks for it, are as good as ever.
faulty() {
  local name=$1 how=$2 calls=$3 file of=(); shift 3
  for file; do of+=(-P "$file"); done
  begin "calls_of_$name" exec strace -f -q -p "$(pid_of "$name")" -e trace="$calls" -e inject="$calls:$how" "${of[@]}" \
    -o "$CASE_DIR/calls_of_$name"
  need wait_until 10 traced "$(pid_of "$name")"
}
traced() { ! grep -L '^TracerPid:.*[1-9]' /proc/"$1"/task/*/status | grep -q .; }
# Those that were made to fail, or to be late, so far.
faults_of() { grep -cE 'INJECTED|DELAYED' "$CASE_DIR/calls_of_$1"; }
had_faults() { [ "$(faults_of "$1")" -gt 0 ]; }
# A server that ended has ended this, too.
faultless() { tell "calls_of_$1"; finish "calls_of_$1" || :; }
# What a server asks of its disk, but for preadv2: with that it also takes what is in memory, which no disk makes slow.
DISK_CALLS=pread64,preadv,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,syncfs,openat,fallocate,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir

# cut_power_everywhere LOAD: of all servers and the witness at one moment, and of the mount's machine, on which the load runs; then
# all of it starts again.
cut_power_everywhere() {
  local mount; mount=$(pid_of mountd)
  cut_power fsd1 fsd2 fsd3 fsd4 witness
  kill -KILL "$mount" "${LOADS[$1]}"
  need wait_until 10 gone "$mount"
  booted fsd1 fsd2 fsd3 fsd4 witness
  check "after a cut of everything it starts again" "$BIN/raidfs" up --dir "$DIR"
  check "it is healthy" wait_healthy 60
}
