# limit: 240
# limit when long: 7200
# The suites while a server is killed every few seconds, and returns: same results.
source "$LIB/in_step.sh"
skip_without pjdfstest
skip_without fsx
L=$CASE_DIR/local
ext4_to_compare "$L"
cluster_up
seed=${SEED:-$(date +%s)} ops=${OPS:-150} steps=${OPS:-1000} gap=1 rounds=2
[ "$LONG" = 1 ] && ops=${OPS:-3000} steps=${OPS:-20000} gap=3 rounds=5

all_pass() {
  pjdfstest_passes "$MNT/p"
  [ "$LONG" = 1 ] && sets=$(fsx_sets) || sets="space chunks"
  for set in $sets; do
    check "fsx, $set: $ops operations, seed $seed" fsx_passes "$MNT/$set" "$set" "$ops" "$seed"
  done
  check "4 processes race through $steps steps each, seed $seed" probe race "$MNT/race" 4 "$steps" "$seed"
  check "cached, direct and mapped see each other, seed $seed" probe direct "$MNT/ways" "$ops" "$seed"
  check "two processes in step with a local ext4, $steps operations, seed $seed" \
    in_step "$MNT" "$L" --processes 2 --ops "$steps" --seed "$seed"
}
while :; do
  while_servers_come_and_go $gap $rounds all_pass
  left_of_race "$MNT/race"
  seed=$((seed + 1))
  [ "$LONG" = 1 ] && within_minutes "${MINUTES:-30}" || break
done
check "verify finds nothing wrong" verify
