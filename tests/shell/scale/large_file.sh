# limit: 3600
# only when asked
# A file of GIB GiB (20 unless set) written through takes no more memory than a small one.
cluster_up
gib=${GIB:-20}
all="mountd fsd1 fsd2 fsd3 fsd4"
# Repeats after a prime number of bytes, so that a block in the wrong place is seen.
bytes() { yes "the quick brown fox jumps over the lazy dog, and it does so again and again" | head -c $(($1 << 30)); }
free=$(df --output=avail -BG "$CASE_DIR" | tail -n 1 | tr -dc 0-9)
need test "$free" -gt $((gib * 2 + 3))
bytes 1 > "$MNT/small"; need sync "$MNT/small"
declare -A small
for n in $all; do small[$n]=$(most_mib $n); done
bytes "$gib" > "$MNT/large"; need sync "$MNT/large"
for n in $all; do
  within "$n: ${small[$n]} MiB after 1 GiB, $(most_mib $n) MiB after $gib GiB" 1 $((${small[$n]} + 48)) "$(most_mib $n)"
done
same "its bytes are right" "$(bytes "$gib" | cksum)" "$(cksum < "$MNT/large")"
check "it is removed" rm "$MNT/large"
check "verify finds nothing wrong" verify
