# limit: 600
# A file is copied within the mount: the servers do it, and every copy is whole while servers die.
MIB=24
cluster_up
need dd if=/dev/urandom of="$MNT/source" bs=1M count=$MIB status=none
copied() {
  local n sum=0
  for n in 0 1 2 3; do sum=$((sum + $(json "/servers/$n/requests/copied_bytes"))); done
  echo "$sum"
}
need cp "$MNT/source" "$MNT/first"
check "a copy is a copy" cmp "$MNT/source" "$MNT/first"
same "the servers made it" $((MIB << 20)) "$(copied)"
same "it takes as much room" "$(stat -c %b "$MNT/source")" "$(stat -c %b "$MNT/first")"
load() { mkdir "$MNT/copy$1" && in_rounds "load$1" copy "$MNT/copy$1"; }
copy() { cp "$MNT/source" "$1/$2" && cmp "$MNT/source" "$1/$2" && rm -f "$1/$(($2 - 2))"; }
progress() { rounds_of "load$1"; }
outcome() {
  local copy
  for copy in "$MNT/copy$1"/*; do cmp "$MNT/source" "$copy" || return 1; done
}
START=2 MORE=2 survives_each_victim
check "verify finds nothing wrong" verify
