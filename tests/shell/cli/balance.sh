# limit: 240
# New files go to the pairs in turn, reads to both mirrors, and a large file lies on all servers.
#
# The balance is one of four servers in sync: a round in which a server was evicted meanwhile (a stuck disk will do)
# proves nothing, and is made again, with other files. Without an eviction, nothing is forgiven.
cluster_up
epochs() { echo "$(json /pairs/0/epoch) $(json /pairs/1/epoch)"; }
count() { json "/servers/$1/requests/$2"; }
counts() { for s in 0 1 2 3; do count $s "$1"; done | tr '\n' ' '; }

# in_quiet WHAT ROUND COMMAND...: makes rounds until the pairs' epochs are the same before and after one; the case is
# over if there is none among three. The command gets the round's number.
in_quiet() {
  local what=$1 n was is; shift
  for n in 1 2 3; do
    need wait_healthy 60
    was=$(epochs)
    "$@" $n
    is=$(epochs)
    [ "$was" != "$is" ] || return 0
    echo "round $n of $what: a server was evicted meanwhile (epochs $was before, $is after), so it is made again"
  done
  not_ok "one of three rounds of $what is without an eviction"
  exit 1
}

# shares WHAT BEFORE AFTER: each mirror's part of what its pair did between two sets of counts is half, within 5 %.
shares() {
  local pair a b b4=($2) now=($3)
  for pair in 0 2; do
    a=$((now[pair] - b4[pair])) b=$((now[pair + 1] - b4[pair + 1]))
    within "$1 on pair $((pair / 2 + 1)) ($a and $b)" 45 55 $((a * 100 / (a + b > 0 ? a + b : 1)))
  done
}

create() {
  local i
  d=$MNT/d$1
  need mkdir "$d"
  before=$(counts primary_changes)
  for i in $(seq 1 1000); do echo "$i" > "$d/$i"; done
  need sync "$d"/*
  after=$(counts primary_changes)
}
in_quiet creates create
first=$(printf '%s\n' "$d"/* | xargs "$BIN/raidfs" where | grep -c 'pair 1:')
within "of 1,000 files each pair gets 500 (pair 1: $first)" 498 502 "$first"
shares "each mirror is primary for half of the changes" "$before" "$after"

read_back() {
  # A mount of its own, which remembers nothing.
  need r stop mountd
  need r start mountd
  before=$(counts reads)
  need sh -c 'cat "$1"/* > /dev/null' - "$d"
  after=$(counts reads)
}
in_quiet reads read_back
shares "each mirror serves half of the reads" "$before" "$after"

head -c 64000000 /dev/zero > "$MNT/large"; need sync "$MNT/large"
same "a large file lies on all four" "fsd1 fsd2 fsd3 fsd4 " "$(holders_of "$MNT/large")"
