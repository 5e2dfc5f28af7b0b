# limit: 240
# bounds no time
# Who has the store is cut off from it, or hangs, in the middle of writes and renames, and a second mountd takes over: the old
# one is fenced first. When it goes on, its programs get errors and it ends; nothing that it had still to send appears, all
# that it had acknowledged is there, once, and nothing leaks. Then the same with a shell that is killed, and that hangs.
skip_without nsenter
source "$LIB/network.sh"
cluster_up
NEXT=$CASE_DIR/next
inodes() { echo "$(json /directories) directories, $(json /files) files"; }
inodes_are() { [ "$(inodes)" = "$1" ]; }
# What no file needs any more is not kept: the four servers together have no more than so many bytes.
kept_at_most() { [ "$(kept)" -le "$1" ]; }
all_in_sync() { local n; for n in 1 2 3 4; do copy_is fsd$n "in sync" || return 1; done; }
sum_of() { echo 3 > /proc/sys/vm/drop_caches; sha256sum < "$1"; }

# A name that is not synced may be lost with the mount.
renames() { mv "$MNT/moves/$(($1 - 1))" "$MNT/moves/$1" && sync "$MNT/moves"; }
overwrites() { printf 'old %08d\n' "$1" | dd of="$MNT/over" conv=notrunc,fsync status=none; }
# begin_old: programs on the mount that is taken over: a log that is synced line by line, renames, writes in one place, and a file
# that has no name any more.
begin_old() {
  need mkdir "$MNT/moves"
  : > "$MNT/moves/0"; : > "$MNT/over"
  head -c 5000000 /dev/urandom > "$MNT/orphan"
  need sync -f "$MNT"
  begin orphan exec "$BIN/probe" held "$MNT/orphan"
  begin log exec "$BIN/probe" log "$MNT/log"
  begin moves in_rounds moves renames
  begin over in_rounds over overwrites
  for name in log moves over; do need wait_until 30 lines_at_least "$(output_of $name)" 20; done
  need lines_at_least "$(output_of orphan)" 1
}
takes_over() {
  begin next exec nsenter --net="$(space_of operator)" "$BIN/mountd" --config "$DIR/raidfs.toml" --takeover "$NEXT"
  need wait_until 30 grep -qF " $NEXT " /proc/self/mountinfo
}
# old_and_new WHAT STOP GO: the old mount is stopped by one command, and let go on by the other.
old_and_new() {
  local what=$1 old moved name acknowledged log had room again
  mkdir -p "$NEXT"
  had=$(inodes) room=$(kept)
  begin_old
  old=$(pid_of mountd)
  fault_at
  $2
  takes_over
  need mkdir "$NEXT/moves/later"; need rmdir "$NEXT/moves/later"
  again=$(since_fault)
  check "$what: what was acknowledged is there, once" probe log-check "$NEXT/log" "$(output_of log)"
  moved=$(ls "$NEXT/moves")
  acknowledged=$(tail -n 1 "$(output_of moves)")
  within "$what: so is the last rename, or the one after it ($moved)" "$acknowledged" $((acknowledged + 1)) "$moved"
  echo "new" > "$NEXT/over"; need sync "$NEXT/over"
  need mv "$NEXT/moves/$moved" "$NEXT/moves/new"
  check "$what: the file without a name is given back" wait_until 30 kept_at_most $((room + 2000000))
  log=$(sum_of "$NEXT/log")
  $3
  check "$what: the old mount ends" wait_until 40 gone "$old"
  for name in log moves over; do
    check "$what: $name does not hang" wait_until 40 gone "${LOADS[$name]}"
  done
  mount_ended "$what, and another takes over" "$again" log moves over orphan
  check "$what: every line that was ever acknowledged is there" probe log-check "$NEXT/log" "$(output_of log)"
  same "$what: and no other came since" "$log" "$(sum_of "$NEXT/log")"
  same "$what: what the new one wrote is there" new "$(dd if="$NEXT/over" iflag=direct bs=4096 status=none)"
  same "$what: so is its name, and no other" new "$(ls "$NEXT/moves")"
  need rm -r "$NEXT/moves" "$NEXT/over" "$NEXT/log"
  check "$what: no inode is left" wait_until 30 inodes_are "$had"
  need wait_until 60 all_in_sync
  check "$what: verify finds nothing wrong" verify
  need umount "$NEXT"
  need finish next
}
stop_hung() { hang mountd; check "the mount hangs" stopped "$(pid_of mountd)"; }
go_hung() { resume mountd; }
stop_cut() { cut_off mountd; refuse "the mount is cut off" reaches mountd fsd1; }

old_and_new "it hangs" stop_hung go_hung
back mountd
old_and_new "it is cut off" stop_cut heal_all

# A shell writes, and reads it back, again and again: what it has read is acknowledged.
for n in $(seq 3000); do printf 'write /shell %d\nread /shell\n' "$n"; done > "$CASE_DIR/orders"
begin_shell() {
  # shellcheck disable=SC2016
  begin shell exec nsenter --net="$(space_of operator)" sh -c 'exec "$1" shell --dir "$2" < "$3" 3>&-' - "$BIN/raidfs" "$DIR" "$CASE_DIR/orders"
  need wait_until 30 lines_at_least "$(output_of shell)" 20
  shell=${LOADS[shell]}
}
begin_shell
need kill -KILL "$shell"
check "a shell is killed" wait_until 10 gone "$shell"
acknowledged=$(tail -n 1 "$(output_of shell)")
back mountd
within "what it had acknowledged is there, or what it was about" "$acknowledged" $((acknowledged + 1)) "$(cat "$MNT/shell")"
refuse "it has ended for that" finish shell
need r stop mountd
begin_shell
need kill -STOP "$shell"
need wait_until 10 stopped "$shell"
acknowledged=$(tail -n 1 "$(output_of shell)")
takes_over
within "of one that hangs, too" "$acknowledged" $((acknowledged + 1)) "$(cat "$NEXT/shell")"
echo new > "$NEXT/shell"; need sync "$NEXT/shell"
need kill -CONT "$shell"
check "it ends when it goes on" wait_until 40 gone "$shell"
refuse "and fails" finish shell
same "what was written since is there" new "$(dd if="$NEXT/shell" iflag=direct bs=4096 status=none)"
need umount "$NEXT"
need finish next
check "all is healthy" wait_healthy 30
check "verify finds nothing wrong" verify
