# limit: 240
# All four servers on one disk, as `make run` has them: df counts its room once, not once for each server.
skip_without mkfs.ext4
local_ext4 "$DIR/data" 1G -m 0
cluster_up
avail() { df -k --output=avail "$MNT" | tail -n 1 | tr -d ' '; }
at_most() { [ "$(avail)" -le "$1" ]; }
of_disk=$(df -k --output=size "$DIR/data" | tail -n 1)
within "df's size is half of the disk, as each byte is stored twice" $((of_disk / 2 - 1024)) $((of_disk / 2 + 1024)) \
  "$(df -k --output=size "$MNT" | tail -n 1)"
begun=$(avail)
n=0
while dd if=/dev/urandom of="$MNT/$n" bs=1M count=1 status=none 2> "$CASE_DIR/error"; do n=$((n + 1)); done
check "the full disk is told as such" grep -q "No space left on device" "$CASE_DIR/error"
within "what df promised could be written, and not much more" $((begun * 9 / 10)) $((begun * 11 / 10)) $((n * 1024))
check "and df says that nothing is left" wait_until 10 at_most $((begun / 20))
check "nobody was put out for it" healthy
check "verify finds nothing wrong" verify
