# limit: 240
# bounds no time
# All servers on one disk, as `make run` has them, and others fill it to the last byte: not even names can be changed. Programs
# wait, `status` says what to do, and once there is room everything goes on by itself: the mount is the same, and open files are.
skip_without mkfs.ext4
local_ext4 "$DIR/data" 600M -m 0
config 'io_timeout = "120s"'
cluster_up
others=$DIR/data/others
mount=$(pid_of mountd)
exec 5> "$MNT/held"
echo before >&5
need sync "$MNT/held"
need mkdir "$MNT/names"
# renames_from AT N: the N-th after so many. A name that is synced is there for good.
renames_from() { renames $(($1 + $2)); }
renames() { mv "$MNT/names/$(($1 - 1))" "$MNT/names/$1" && sync "$MNT/names"; }
: > "$MNT/names/0"
need sync "$MNT/names/0" "$MNT/names"
fill() { cat /dev/zero >> "$others" 2> /dev/null; }
filled_until() { fill; "$@"; }
nobody_has_room() { r status | head -n 1 | grep -qE "^unavailable: nobody leads \(.*make room on the disks of .*which then go on by themselves"; }
for round in 1 2 3; do
  at=$(ls "$MNT/names")
  begin names in_rounds names renames_from "$at"
  need wait_until 20 lines_at_least "$(output_of names)" 10
  check "round $round: no server has room, and status says what to do" wait_until 60 filled_until nobody_has_room
  had=$(lines "$(output_of names)")
  check "the mount is there" mounted
  need running names
  fault_at
  need rm "$others"
  check "once there is room, who waited goes on" wait_until 60 lines_at_least "$(output_of names)" $((had + 5))
  echo "# $CASE: round $round: names changed $(since_fault) ms after there was room" | tee /dev/fd/3
  tell names
  check "without an error" finish names
  same "each name that was synced is there, once" $((at + $(lines "$(output_of names)"))) "$(ls "$MNT/names")"
  check "all are in sync again" wait_healthy 60
done
same "by the same mount" "$mount" "$(pid_of mountd)"
echo after >&5
check "a file that was open all the while can be synced" sync "$MNT/held"
exec 5>&-
same "and has what was written before and after" $'before\nafter' "$(cat "$MNT/held")"
# Not each needs room at that moment; but each that found none went on.
logs_with() { (cd "$DIR/log" && grep -l "$1" fsd?.log witness.log); }
found_none=$(logs_with "goes on by itself once there are")
within "servers found no room" 2 5 "$(echo "$found_none" | wc -w)"
same "each of them says that it went on by itself" "$found_none" "$(logs_with "there is room on the disk again")"
refuse "nobody takes it for a power loss everywhere" grep -h "from before power was lost" "$DIR"/log/*.log
refuse "or for a damaged log" grep -h "is damaged, and is cut off" "$DIR"/log/*.log
check "verify finds nothing wrong" verify
