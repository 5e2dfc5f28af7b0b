# limit: 180
# limit when long: 7200
# fsx: random reads, writes, mappings, cuts, holes and copies of one file, each read compared with what it must be. In
# the long form in rounds with seeds of their own, until MINUTES (60 unless set) have passed. SEED= repeats a round.
skip_without fsx
cluster_up
ops=${OPS:-120} first=${SEED:-$(any_seed)} rounds=0 failed=0
[ "$LONG" = 1 ] && ops=${OPS:-2000}
while :; do
  for set in $(fsx_sets); do
    seed=$((first + rounds))
    check "$set: $ops operations, seed $seed" fsx_passes "$MNT/$set" "$set" "$ops" "$seed" || failed=1
  done
  rounds=$((rounds + 1))
  [ "$LONG" = 1 ] && [ $failed = 0 ] && within_minutes "${MINUTES:-60}" || break
done
check "verify finds nothing wrong" verify
