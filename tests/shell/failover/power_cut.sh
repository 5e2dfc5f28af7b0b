# limit: 300
# Power is cut, for real: of one server, of a pair, of one of each, of everything, while programs append and sync line by line. Each
# server has a disk of its own, an image on a btrfs, whose snapshot is what the disks hold at that moment, without what was
# in memory only: neither what the server, nor what its file system, nor what its disk had not been told to keep.
skip_without mkfs.ext4
skip_without mkfs.btrfs
disks=$CASE_DIR/disks all="fsd1 fsd2 fsd3 fsd4 witness"
need truncate -s 4G "$disks.img"
need mkfs.btrfs -q "$disks.img"
need mkdir "$disks"
need mount -o loop "$disks.img" "$disks"
need btrfs -q subvolume create "$disks/live"
insert() { # NAME...: the disk of each is there
  local name
  for name in "$@"; do need mount -o loop "$disks/live/$name.img" "$DIR/data/$name"; done
}
for name in $all; do
  need mkdir -p "$DIR/data/$name"
  need truncate -s 400M "$disks/live/$name.img"
  need mkfs.ext4 -q -m 0 "$disks/live/$name.img"
done
# shellcheck disable=SC2086
insert $all
cluster_up

# cut_power NAME...: they stop at one moment, and all that is left of them is what their disks held then.
cuts=0
cut_power() {
  local name
  cuts=$((cuts + 1))
  hang "$@"
  need btrfs -q subvolume snapshot "$disks/live" "$disks/cut$cuts"
  crash "$@"
  for name in "$@"; do
    need umount "$DIR/data/$name"
    need cp --reflink=always "$disks/cut$cuts/$name.img" "$disks/live/$name.img"
  done
  insert "$@"
}
power_returns() { export RAIDFS_BOOT_ID=boot$cuts; back "$@"; }

need mkdir "$MNT/tree"
need probe tree "$MNT/tree" 200 1
sync -f "$MNT"
sums "$MNT/tree" > "$CASE_DIR/tree"
is_whole() { (cd "$MNT/tree" && sha256sum --quiet -c "$CASE_DIR/tree"); }

for victims in fsd2 "fsd3 fsd4" "fsd1 fsd3"; do
  for by in fsync osync msync; do
    log="$by log of ${victims// / and }"
    begin "$log" exec "$BIN/probe" log "$MNT/$log" "$by"
  done
  for by in fsync osync msync; do
    need wait_until 30 lines_at_least "$(output_of "$by log of ${victims// / and }")" 50
  done
  # shellcheck disable=SC2086
  cut_power $victims
  # shellcheck disable=SC2086
  power_returns $victims
  for by in fsync osync msync; do
    log="$by log of ${victims// / and }"
    at=$(lines "$(output_of "$log")")
    check "who syncs by $by goes on" wait_until 60 lines_at_least "$(output_of "$log")" $((at + 50))
    tell "$log"
    check "and has seen no error" finish "$log"
    check "every line that it synced is there" probe log-check "$MNT/$log" "$(output_of "$log")"
  done
  check "so is what was synced before" is_whole
  check "all copies are in sync again" wait_healthy 60
  check "and equal" verify
done

begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 30 lines_at_least "$(output_of log)" 50
mount=$(pid_of mountd)
# shellcheck disable=SC2086
cut_power $all
# The machine of the mount goes down with the others.
kill -KILL "$mount" "${LOADS[log]}"
need wait_until 10 gone "$mount"
# shellcheck disable=SC2086
power_returns $all
check "after a cut of everything it starts again" "$BIN/raidfs" up --dir "$DIR"
check "it is healthy" wait_healthy 60
check "every line that was synced is there" probe log-check "$MNT/log" "$(output_of log)"
check "so is what was synced before" is_whole
check "verify finds nothing wrong" verify
