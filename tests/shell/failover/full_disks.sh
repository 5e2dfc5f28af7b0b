# limit: 240
# bounds no time
# Servers on small disks: what df promises can be written, then it is ENOSPC; what was there is unharmed, and deleting makes room.
skip_without mkfs.ext4
for name in fsd1 fsd2 fsd3 fsd4; do local_ext4 "$DIR/data/$name" 96M -m 0; done
cluster_up
avail() { df -k --output=avail "$MNT" | tail -n 1 | tr -d ' '; }
at_least() { [ "$(avail)" -ge "$1" ]; }
at_most() { [ "$(avail)" -le "$1" ]; }
mib() { dd if=/dev/urandom of="$1" bs=1M count=1 status=none; }
drop() { echo 3 > /proc/sys/vm/drop_caches; }
empty=$(avail)
need mkdir "$MNT/kept"
for i in 1 2 3 4 5 6; do need mib "$MNT/kept/$i"; done
need sync "$MNT"/kept/*
need cp "$MNT/kept/5" "$CASE_DIR/5"
sums "$MNT/kept" > "$CASE_DIR/kept"
# df lags by up to 2 s; what it says before it knows of the six is no promise of this moment.
need wait_until 10 at_most $((empty - 5 * 1024))
begun=$(avail)
n=0
while mib "$MNT/$n" 2> "$CASE_DIR/error"; do n=$((n + 1)); done
check "a full disk is told as such" grep -q "No space left on device" "$CASE_DIR/error"
within "not before df's promise was kept (but for a twentieth)" $((begun * 19 / 20)) $((begun * 21 / 20)) $((n * 1024))
check "and df says that nothing is left" wait_until 10 at_most $((begun / 20))
check "the log says so, and not once for each piece" [ "$(grep -c 'no space left' "$DIR/log/mountd.log")" -le 2 ]
check "what was there is as it was" sh -c 'cd "$1" && sha256sum --quiet -c "$2"' - "$MNT/kept" "$CASE_DIR/kept"
check "a file can be cut short" truncate -s 300000 "$MNT/kept/5"
same "to that" "$(head -c 300000 "$CASE_DIR/5" | sha256sum)" "$(drop; sha256sum < "$MNT/kept/5")"
check "and taken away" rm "$MNT/kept/4"
check "it can be overwritten" dd if=/dev/zero of="$MNT/kept/6" bs=1M count=1 conv=notrunc,fsync status=none
check "names can be made, moved and taken away" sh -c 'cd "$1" && mkdir d && touch d/e && mv d/e d/f && rm -r d' - "$MNT"
check "nobody was put out for it" healthy
# What a disk keeps back was half used up.
for i in $(seq 0 15); do need rm "$MNT/$i"; done
check "deleting makes room" wait_until 20 at_least 2000
# The pair whose turn it is may be the one that has not given its chunks up yet.
check "which can be used" wait_until 20 mib "$MNT/again"
# On a local disk, too, what is removed makes room at once.
n=0
while mib "$MNT/full$n" 2> "$CASE_DIR/error"; do n=$((n + 1)); done
need grep -q "No space left on device" "$CASE_DIR/error"
need rm "$MNT"/[0-9]*
check "and at once, if it was just given back" dd if=/dev/urandom of="$MNT/at-once" bs=64k count=1 status=none
check "which is there, as it was told" sync "$MNT/at-once"
same "all of it" 65536 "$(stat -c %s "$MNT/at-once")"
fails_with "more than there is cannot be reserved" "No space left" fallocate -l 1T "$MNT/reserved"
within "and does not fill the disks" 0 100000 "$(stat -c %b "$MNT/reserved")"
rm -f "$MNT"/full* "$MNT/at-once" "$MNT/again" "$MNT/reserved"
check "all of it comes back" wait_until 30 at_least $((begun * 19 / 20))
check "and can be used, too" dd if=/dev/zero of="$MNT/more" bs=1M count=40 conv=fsync status=none

declare -A FILE=()
# The disk of one server is full: neither is anything new put on its mirror, and all of it goes to the other pair.
need rm "$MNT/more"
check "all of it comes back" wait_until 30 at_least $((begun * 19 / 20))
for name in cut gone read written; do
  FILE[$name]=$(on_pair 1 $name)
  need mib "${FILE[$name]}"
  need sync "${FILE[$name]}"
done
need cp "${FILE[read]}" "$CASE_DIR/read"
begin_small
room() { df -k --output=avail "$DIR/data/fsd2" | tail -n 1 | tr -d ' '; }
free() { json /pairs/0/space/free; }
free_at_most() { [ "$(free)" -le "$1" ]; }
free_over() { [ "$(free)" -gt "$1" ]; }
need fallocate -l $(($(room) - 2000))K "$DIR/data/fsd2/ballast"
within "the disk of fsd2 is full" 0 2100 "$(room)"
check "which is known of its pair" wait_until 20 free_at_most 1000000
for n in $(seq 1 8); do need mib "$MNT/elsewhere$n"; need sync "$MNT/elsewhere$n"; done
same "all that is new goes to the other pair" "fsd3 fsd4 " "$(for n in $(seq 1 8); do holders_of "$MNT/elsewhere$n"; echo; done | sort -u)"
drop
check "with one mirror full files are read" cmp "$CASE_DIR/read" "${FILE[read]}"
check "cut short" truncate -s 1000 "${FILE[cut]}"
check "and taken away" rm "${FILE[gone]}"
check "what is there is overwritten" dd if="$CASE_DIR/read" of="${FILE[written]}" bs=1M conv=notrunc,fsync status=none
need rm "$DIR/data/fsd2/ballast"
check "once there is room it is used" wait_until 20 free_over 20000000
drop
check "what was overwritten is right" cmp "$CASE_DIR/read" "${FILE[written]}"
same "what was cut is" "1000" "$(stat -c %s "${FILE[cut]}")"
check "all is healthy" wait_healthy 60
SMALL_WAIT='' end_small "one disk of a pair was full"
check "verify finds nothing wrong" verify
