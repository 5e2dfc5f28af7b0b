# limit: 240
# Servers on small disks: what df promises can be written, then it is ENOSPC; what was there is unharmed, and deleting makes room.
skip_without mkfs.ext4
for name in fsd1 fsd2 fsd3 fsd4; do local_ext4 "$DIR/data/$name" 96M -m 0; done
cluster_up
avail() { df -k --output=avail "$MNT" | tail -n 1 | tr -d ' '; }
at_least() { [ "$(avail)" -ge "$1" ]; }
at_most() { [ "$(avail)" -le "$1" ]; }
mib() { dd if=/dev/urandom of="$1" bs=1M count=1 status=none; }
empty=$(avail)
need mkdir "$MNT/kept"
for i in 1 2 3 4 5 6; do need mib "$MNT/kept/$i"; done
need sync "$MNT"/kept/*
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
check "it can be overwritten" dd if=/dev/zero of="$MNT/kept/6" bs=1M count=1 conv=notrunc,fsync status=none
check "names can be made, moved and taken away" sh -c 'cd "$1" && mkdir d && touch d/e && mv d/e d/f && rm -r d' - "$MNT"
check "nobody was put out for it" healthy
# What a disk keeps back was half used up.
for i in $(seq 0 15); do need rm "$MNT/$i"; done
check "deleting makes room" wait_until 20 at_least 2000
# The pair whose turn it is may be the one that has not given its chunks up yet.
check "which can be used" wait_until 20 mib "$MNT/again"
rm -f "$MNT"/[0-9]* "$MNT/again"
check "all of it comes back" wait_until 30 at_least $((begun * 19 / 20))
check "and can be used, too" dd if=/dev/zero of="$MNT/more" bs=1M count=40 conv=fsync status=none
check "verify finds nothing wrong" verify
