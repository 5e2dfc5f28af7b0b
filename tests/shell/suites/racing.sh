# limit: 180
# limit when long: 3600
# Processes that race on few names, as fsstress does it, and three ways into one file (cached, O_DIRECT, mapped).
# In the long form in rounds with seeds of their own, until MINUTES (15 unless set) have passed.
cluster_up
seed=${SEED:-$(any_seed)} processes=${PROCESSES:-4} steps=${OPS:-800}
[ "$LONG" = 1 ] && steps=${OPS:-20000}
while :; do
  race_passes "$MNT/race" "$processes" "$steps" "$seed"
  check "cached, direct and mapped see each other, $((steps / 2)) steps, seed $seed" probe direct "$MNT/ways" $((steps / 2)) "$seed"
  seed=$((seed + 1))
  [ "$LONG" = 1 ] && within_minutes "${MINUTES:-15}" || break
done
check "the mount had nothing to tell its operator" quiet
check "verify finds nothing wrong" verify
