# du and df.
mkdir d; head -c 3000000 /dev/zero | tr '\0' x > d/f; sync d/f
within "du shows what a file takes, in KiB" 2900 3100 "$(du -sk d/f | cut -f1)"
check "df answers" df .
check "with room" test "$(df --output=avail -k . | tail -n 1)" -gt 0
check "and inodes" df -i .
