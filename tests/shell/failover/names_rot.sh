# limit: 240
# A server's store of names rots on its disk where opening it does not look: whoever reads that row makes the server start
# anew, by itself and in the same process, and fetch all names from the others.
skip_without setfattr
source "$LIB/watch.sh"
victim=fsd4
cluster_up
# So much that there is a table of it on disk, and not only what the store gathers in memory.
need mkdir "$MNT/large"
value() { head -c 40000 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
for n in $(seq 500); do
  need touch "$MNT/large/$n"
  need setfattr -n user.large -v "0x$(value)" "$MNT/large/$n"
done
need sync -f "$MNT"
large() { getfattr -d -m user.large -e hex --absolute-names "$MNT"/large/* | sha256sum; }
before=$(large)
tables() { find "$DIR/data/$victim/names" -path '*/tables/*' -type f -size +1M; }
has_tables() { [ -n "$(tables)" ]; }
need wait_until 60 has_tables
store_of() { cat "$DIR/data/$victim/names/current"; }
store=$(store_of)
need r stop $victim
while read -r table; do
  size=$(stat -c %s "$table")
  for at in $(seq $((size / 4)) 30000 $((size * 3 / 4))); do flip_in "$table" "$at"; done
done < <(tables)
back $victim
pid=$(pid_of $victim)
check "it starts as if nothing were wrong" wait_healthy 60

watch
# It reads the names of all servers.
verify
anew() { grep -q "names here cannot be used and are fetched anew" "$DIR/log/$victim.log" && [ "$(store_of)" != "$store" ]; }
check "what has rotted is found, and fetched anew" wait_until 60 anew
same "by the same process" "$pid" "$(pid_of $victim)"
refuse "which lives" gone "$pid"
check "all is healthy" wait_healthy 120
watched "names have rotted, and are fetched anew" 1500
crash fsd3
echo 3 > /proc/sys/vm/drop_caches
same "every name is as it was" "$before" "$(large)"
back fsd3
check "all is healthy again" wait_healthy 120
check "verify finds nothing wrong" verify

# What can be read, and is wrong, is not dropped: on all servers it might be the same. The server ends, and says so.
need touch "$MNT/dangling"
need sync -f "$MNT"
need r stop $victim
need probe damage-names "$DIR/data/$victim" dangling dangling
back $victim
need wait_healthy 60
pid=$(pid_of $victim) store=$(store_of)
check "what one server has wrong is changed" rm "$MNT/dangling"
check "it starts anew once, and ends" wait_until 60 gone "$pid"
check "after it has read all names" grep -q "rows of the names can be read: they are kept" "$DIR/log/$victim.log"
check "and says what it found" grep -q "though all of them could be read a moment ago" "$DIR/log/$victim.log"
same "its names are kept" "$store" "$(store_of)"
need mv "$DIR/data/$victim/names" "$CASE_DIR/names"
need mkdir "$DIR/data/$victim/names"
back $victim
check "without them it fetches all" wait_healthy 120
check "verify finds nothing wrong then" verify
