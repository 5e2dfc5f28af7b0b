# limit: 300
# only when asked
# A server's disk fails: first it gives errors for what is read, then for what is written. Each server has a disk of its own,
# an image; that of the victim is kept in memory and is cut short, so that everything behind the cut gives EIO.
skip_without mkfs.ext4
source "$LIB/watch.sh"
victim=fsd2 disk=$CASE_DIR/disk
need mkdir -p "$disk"
need mount -t tmpfs -o size=400m tmpfs "$disk"
for name in fsd1 fsd3 fsd4; do local_ext4 "$DIR/data/$name" 256M -m 0; done
need mkdir -p "$DIR/data/$victim"
need truncate -s 256M "$disk/image"
# Without a journal and with all its tables made at once, so that the errors meet data rather than what ext4 stops for.
need mkfs.ext4 -q -F -m 0 -b 4096 -O ^has_journal -E lazy_itable_init=0 "$disk/image"
need mount -o loop,errors=continue "$disk/image" "$DIR/data/$victim"
cluster_up

need mkdir "$MNT/kept"
for n in $(seq 40); do need dd if=/dev/urandom of="$MNT/kept/$n" bs=1M count=2 status=none; done
need sync "$MNT"/kept/*
sums "$MNT/kept" > "$CASE_DIR/kept"
is_right() { (cd "$MNT/kept" && sha256sum --quiet -c "$CASE_DIR/kept"); }
drop() { echo 3 > /proc/sys/vm/drop_caches; }
loop=$(findmnt -no SOURCE "$DIR/data/$victim")
# Whether the server's log, and status, tell of its disk.
log_tells() { grep -aiE "input/output error|damaged|not to be relied on|trouble" "$DIR/log/$victim.log"; }
says_so() { r status | grep -E "$victim (has trouble with its disk|is down|hangs)|$victim's copy is stale"; }

# Where the bytes of a file that the victim holds lie on its disk: everything from the middle of them on is lost.
for n in $(seq 40); do case $(holders_of "$MNT/kept/$n") in *$victim*) file=$MNT/kept/$n ;; esac; done
CUT=$(($(filefrag -e "$(chunk_file $victim "$file")" | awk '$1 == "0:" { gsub(/\.\./, "", $4); print $4 }') * 4096))
within "the bytes that will be lost lie on the disk" 4096 $((255 << 20)) "$CUT"
need sync -f "$DIR/data/$victim"
need wait_until 30 disk_is_cut "$disk/image" "$loop" "$CUT"
drop
fails_with "the disk gives errors" "Input/output error" dd if="$(chunk_file $victim "$file")" of=/dev/null bs=4k status=none
for n in 1 2 3; do drop; check "what is read is right all the same ($n)" is_right; done
r scrub
check "the server's log tells of it" wait_until 30 log_tells
watch
for n in $(seq 41 60); do need dd if=/dev/urandom of="$MNT/kept/$n" bs=1M count=2 status=none; done
check "what is written is synced" sync -f "$MNT"
sums "$MNT/kept" > "$CASE_DIR/kept"
check "after writes have failed it is put out" wait_until 30 not copy_is $victim "in sync"
check "status says so" wait_until 10 says_so
r status
check "the programs go on" moves_on
drop
check "everything is right" is_right
watched "a disk that gives errors" 1500

# A new disk in its place.
crash_or_gone() { gone "$(pid_of $victim)" || crash $victim; }
crash_or_gone
need umount -l "$DIR/data/$victim"
need rm -rf "${DIR:?}/data/$victim"
need r replace $victim
back $victim
check "with a new disk it is brought up to date" wait_healthy 120
drop
check "and everything is right" is_right
check "verify finds nothing wrong" verify
