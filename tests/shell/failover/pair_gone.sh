# limit: 300
# Both servers of a pair gone: what needs them waits, then gives EIO; all else goes on; when they return, so do they.
config 'io_timeout = "2s"'
cluster_up
for i in $(seq 1 8); do head -c 100000 /dev/urandom > "$MNT/f$i"; done
sums "$MNT" > "$CASE_DIR/sums"
sync
all_on() { for f in "$MNT"/f*; do [ "$(holders_of "$f")" = "$1 " ] && echo "$f"; done; }
lost=$(all_on "fsd3 fsd4"); kept=$(all_on "fsd1 fsd2")
need test -n "$lost"; need test -n "$kept"
append() { printf '%s\n' "$2" | dd of="$1" oflag=append conv=notrunc,fsync status=none; }
has() { [ "$(cat "$1")" = "$2" ]; }
drop() { for f in "$MNT"/f*; do dd if="$f" iflag=nocache count=0 status=none; done; echo 3 > /proc/sys/vm/drop_caches; }
need mkdir "$MNT/logs"
for i in $(seq 1 4); do [ -n "${log:-}" ] || { : > "$MNT/logs/$i"; [ "$(holders_of "$MNT/logs/$i")" = "fsd3 fsd4 " ] && log=$MNT/logs/$i; }; done
need append "$log" first
drop
crash fsd3 fsd4
for f in $kept; do check "a file on the other pair is read ($(basename "$f"))" cat "$f" > /dev/null; done
first=$(echo "$lost" | head -n 1)
took=$(millis fails_with "a file on the dead pair gives EIO" "Input/output error" cat "$first")
within "after waiting for io_timeout (2 s), once" 1500 3500 "$took"
check "names of both are there" test "$(ls "$MNT" | wc -l)" = 9
check "names change" mv "$MNT/f1" "$MNT/g1"
need mv "$MNT/g1" "$MNT/f1"
new_ones() { local i; for i in 1 2 3 4 5 6; do echo new > "$MNT/new$i" && sync "$MNT/new$i" || return; done; }
check "new files go to the pair that is there" new_ones
says "status says that files cannot be served" "^unavailable: files on fsd3.fsd4" r status
fails_with "what is written there and cannot be stored is told" "Input/output error" append "$log" second
# Killed in the same instant, neither is worse than the other: whichever returns first serves.
begin reader cat "$first"
back fsd3
check "one that was in sync returns: what waited goes on" finish reader
back fsd4
check "both are back" wait_healthy 60
check "what was told of is not zeros, but there" wait_until 20 has "$log" $'first\nsecond'
check "and what comes behind it, too" append "$log" third
drop
check "in its place" has "$log" $'first\nsecond\nthird'
check "every file is as it was" sh -c 'cd "$1" && sha256sum --quiet -c "$2"' - "$MNT" "$CASE_DIR/sums"
check "verify finds nothing wrong" verify
