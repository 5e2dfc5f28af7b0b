# limit: 180
# New files go to the pairs in turn, reads to both mirrors, and a large file lies on all servers.
cluster_up
mkdir "$MNT/d"
for i in $(seq 1 1000); do echo "$i" > "$MNT/d/$i"; done
sync
first=0
for i in $(seq 1 1000); do echo "$MNT/d/$i"; done > "$CASE_DIR/list"
first=$(xargs "$BIN/raidfs" where < "$CASE_DIR/list" | grep -c 'pair 1:')
within "of 1,000 files each pair gets 500 (pair 1: $first)" 498 502 "$first"
count() { json "/servers/$1/requests/$2"; }
share() { # WHAT KEY: the first mirror's part of its pair's requests, in percent
  local pair a b
  for pair in 0 1; do
    a=$(($(count $((pair * 2)) "$2") - ${before[pair * 2]})) b=$(($(count $((pair * 2 + 1)) "$2") - ${before[pair * 2 + 1]}))
    within "$1 on pair $((pair + 1)) ($a and $b)" 45 55 $((a * 100 / (a + b > 0 ? a + b : 1)))
  done
}
before=(0 0 0 0)
share "each mirror is primary for half of the changes" primary_changes
r stop mountd && r start mountd
for s in 0 1 2 3; do before[s]=$(count $s reads); done
need sh -c 'cat "$1"/d/* > /dev/null' - "$MNT"
share "each mirror serves half of the reads" reads
head -c 64000000 /dev/zero > "$MNT/large"; need sync "$MNT/large"
same "a large file lies on all four" "fsd1 fsd2 fsd3 fsd4 " "$(holders_of "$MNT/large")"
