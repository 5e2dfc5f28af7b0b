# limit: 60
# where names the pair and servers of a file, also as an extended attribute.
cluster_up
head -c 9000000 /dev/zero > "$MNT/large"; echo x > "$MNT/small"
check "where answers" "$BIN/raidfs" where "$MNT/large" "$MNT/small"
same "a small file is on the two servers of one pair" 2 "$(holders_of "$MNT/small" | wc -w)"
same "a large one on all four" "fsd1 fsd2 fsd3 fsd4 " "$(holders_of "$MNT/large")"
if command -v getfattr > /dev/null; then
  same "the attribute says the same" "$("$BIN/raidfs" where "$MNT/small")" "$(getfattr --only-values -n user.raidfs.where "$MNT/small")"
fi
two=$'two\nlines'; echo x > "$MNT/$two"
says "a name of two lines stays on one" "^\\$'$MNT/two\\\\nlines':$" "$BIN/raidfs" where "$MNT/small" "$MNT/$two"
fails_with "a file elsewhere is refused" "not on a raidfs mount" "$BIN/raidfs" where /etc/passwd
fails_with "a directory has no chunks" "no regular file: it has no chunks" "$BIN/raidfs" where "$MNT"
fails_with "a missing one too" "No such file" "$BIN/raidfs" where "$MNT/none"
fails_with "what cannot be told of is said of each" "none: No such file" "$BIN/raidfs" where "$MNT" "$MNT/none" "$MNT/small"
check "and hides none of the others" sh -c '"$1" where "$2" "$2/small" 2> /dev/null | grep -q "fsd"' - "$BIN/raidfs" "$MNT"
mount_pid=$(pid_of mountd)
need kill -STOP "$mount_pid"
fails_with "of a mount that hangs it is said that it does not answer" "does not answer; .raidfs status. says why" timeout 20 "$BIN/raidfs" where "$MNT/small"
need kill -CONT "$mount_pid"
