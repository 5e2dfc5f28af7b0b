# limit: 240
# bounds no time
# A program holds files open that have no name any more, on both pairs, one of them of several chunks, and writes and reads
# them while the primaries die and come back, then their mirrors, then the leader. All its bytes are right, and once it has
# ended nothing is left of them.
cluster_up
inodes() { echo "$(json /directories) directories, $(json /files) files"; }
had=$(inodes)
# primary_of FILE: of its first chunk.
primary_of() { "$BIN/raidfs" where "$1" | sed -n '1s/.*\(fsd[0-9]*\) (primary).*/\1/p'; }
for pair in 1 2; do
  small[pair]=$(on_pair $pair small)
  need test -n "${small[pair]}"
  head -c 300000 /dev/urandom > "${small[pair]}"
  first[pair]=$(primary_of "${small[pair]}")
  need test -n "${first[pair]}"
done
head -c 9500000 /dev/urandom > "$MNT/large"
same "the large one has several chunks, and is on both pairs" "3 fsd1 fsd2 fsd3 fsd4 " \
  "$("$BIN/raidfs" where "$MNT/large" | grep -c '^chunk') $(holders_of "$MNT/large")"
need sync "${small[@]}" "$MNT/large"

begin nameless exec "$BIN/probe" nameless "${small[@]}" "$MNT/large"
rounds() { lines "$(output_of nameless)"; }
goes_on() { wait_until 30 lines_at_least "$(output_of nameless)" $(($(rounds) + ${1:-10})); }
need goes_on 3
same "none has a name any more" "" "$(find "$MNT" -type f)"
for server in "${first[@]}" $(for s in "${first[@]}"; do mirror_of "$s"; done) leader; do
  what="$server, which has some of it,"
  if [ "$server" = leader ]; then server=$(leader); what="the leader, $server,"; fi
  crash "$server"
  check "it goes on when $what died" goes_on
  need degraded_within 20
  check "and is still there" running nameless
  check "and while it is missing" goes_on
  back "$server"
  check "it goes on when $server comes back" goes_on
  need wait_healthy 60
done
check "it goes on" goes_on
tell nameless
check "all its bytes were right, and are" finish nameless

rmdir "$MNT"/*/
is_as_before() { [ "$(inodes)" = "$had" ]; }
check "no inode is left of them" wait_until 30 is_as_before
# What all servers keep, by their own word and on their disks. They count bytes to within three blocks of each chunk.
chunks() { local n; for n in 0 1 2 3; do json "/servers/$n/chunks"; done | sort -u; }
bytes() { local n; for n in 0 1 2 3; do json "/servers/$n/chunk_bytes"; done | sort -n | tail -n 1; }
nothing_kept() { [ "$(chunks)" = 0 ] && [ -z "$(find "$DIR"/data/*/chunks -type f)" ]; }
check "nor a chunk on any server" wait_until 30 nothing_kept || find "$DIR"/data/*/chunks -type f
within "nor bytes, as they count them" 0 $((5 * 3 * 4096)) "$(bytes)"
check "verify finds nothing wrong" verify
