# limit: 240
# limit when long: 7200
# The same generated operations on the mount and on a local ext4, by one process and by two: no answer, attribute,
# listing or byte differs. First the histories of tests/instep, in which one did. SEED= repeats a run.
source "$LIB/in_step.sh"
L=$CASE_DIR/local
ext4_to_compare "$L"
need mkdir "$L/other"
seed=${SEED:-$(any_seed)000} ops=${OPS:-5000}
[ "${LONG:-0}" = 1 ] && ops=${OPS:-100000}

# The comparison itself: nothing differs between two local directories, but what is made to is found and made small.
check "two local directories, 2000 operations, seed $seed" in_step "$L/other" "$L" --same --ops 2000 --seed "$seed"
in_step "$L/other" "$L" --same --sabotage --ops 2000 --seed 1 > found 2>&1
same "a byte that is lost on one side is found" 1 $?
within "and the history that loses it is made small" 1 6 "$(grep -c '^{' found)"
in_step "$L/other" "$L" --same --ops 2000 --seed 2 --remount "find '$L/other' -type f -size +0 -exec truncate -s 0 {} +" > found 2>&1
same "and bytes that are lost when it is mounted anew" 1 $?
says "in these words" "mounted anew, .* locally, .* on the mount" cat found

cluster_up
# Every so many histories everything is looked at once more by a mount that has seen none of it. In the long form each kind
# of operation must have succeeded at some time; where two processes share a tree, some do too seldom.
remount="'$BIN/raidfs' stop --dir '$DIR' mountd && '$BIN/raidfs' start --dir '$DIR' mountd"
for processes in 1 2; do
  more=(--processes $processes --ops "$ops" --seed "$seed" --remount "$remount")
  if [ "${LONG:-0}" = 1 ] && [ $processes = 1 ] && [ "$ops" -ge 30000 ]; then more+=(--all-kinds); fi
  check "processes: $processes, $ops operations, seed $seed" in_step_told "$MNT" "$L" "${more[@]}" > said
  cat said
  # Behind every fourth history of 500.
  [ "$ops" -lt 2000 ] || within "and looked at once more, mounted anew" 1 1000000 "$(sed -n 's/.* remounted=\([0-9]*\) .*/\1/p' said)"
done
check "verify finds nothing wrong" verify
