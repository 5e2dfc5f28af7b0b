# limit: 240
# limit when long: 7200
# The suites while a server is killed every few seconds, and returns: same results. Each of them has had a server die in it.
source "$LIB/in_step.sh"
skip_without pjdfstest
skip_without fsx
L=$CASE_DIR/local
ext4_to_compare "$L"
cluster_up
seed=${SEED:-$(any_seed)} ops=${OPS:-150} steps=${OPS:-500} races=${OPS:-1000} gap=1 rounds=2
[ "$LONG" = 1 ] && ops=${OPS:-3000} steps=${OPS:-20000} races=${OPS:-20000} gap=3 rounds=5

step_by() { in_step_told "$MNT" "$L" --processes "$1" --ops "$steps" --seed "$2"; }
all_pass() {
  local set sets="space chunks" before
  before=$(kills)
  pjdfstest_passes "$MNT/p"
  before=$(($(kills) - before))
  within "servers were killed in it: $before" 1 1000000 $before
  [ "$LONG" = 1 ] && sets=$(fsx_sets)
  for set in $sets; do
    part "fsx, $set: $ops operations" fsx_passes "$MNT/$set" "$set" "$ops"
  done
  part "4 processes race through $races steps each" probe race "$MNT/race" 4 "$races"
  part "cached, direct and mapped see each other" probe direct "$MNT/ways" "$ops"
  part "one process in step with a local ext4, $steps operations" step_by 1
  part "two processes in step with a local ext4, $steps operations" step_by 2
}
while :; do
  while_servers_come_and_go $gap $rounds all_pass
  left_of_race "$MNT/race"
  # A run of many operations takes the seeds behind its first, too.
  seed=$((seed + 1000))
  [ "$LONG" = 1 ] && within_minutes "${MINUTES:-30}" || break
done
check "verify finds nothing wrong" verify
