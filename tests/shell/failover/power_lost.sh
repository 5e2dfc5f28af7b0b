# limit: 300
# bounds no time
# Power is lost everywhere: what was synced is there, and the mount of before is not taken for the one of now.
cluster_up
refuses_to_sync() { ! { echo late > "$MNT/d/late$round" && sync "$MNT/d/late$round"; }; }
mkdir "$MNT/d"; echo synced > "$MNT/d/f"; need sync "$MNT/d/f" "$MNT/d"
for round in 1 2; do
  # The mount lives on, as on a machine of its own.
  mount=$(pid_of mountd)
  crash fsd1 fsd2 fsd3 fsd4 witness
  export RAIDFS_BOOT_ID=boot$round
  back fsd1 fsd2 fsd3 fsd4 witness
  check "round $round: the servers go on together" wait_until 60 has_leader
  check "the old mount is told, not served" wait_until 30 refuses_to_sync
  check "and ends" wait_until 30 gone "$mount"
  check "it can be mounted anew" "$BIN/raidfs" up --dir "$DIR"
  same "what was synced is there" synced "$(cat "$MNT/d/f")"
  check "and new files can be made" mkdir "$MNT/new$round"
  check "it is healthy" wait_healthy 60
done
check "verify finds nothing wrong" verify
