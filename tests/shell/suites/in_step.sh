# limit: 240
# limit when long: 7200
# The same generated operations on the mount and on a local ext4, by one process and by two: no answer, attribute,
# listing or byte differs. First the histories of tests/instep, in which one did. SEED= repeats a run.
source "$LIB/in_step.sh"
L=$CASE_DIR/local
ext4_to_compare "$L"
need mkdir "$L/other"
seed=${SEED:-$(date +%s)000} ops=${OPS:-5000}
[ "${LONG:-0}" = 1 ] && ops=${OPS:-100000}

# The comparison itself: nothing differs between two local directories, but what is made to is found and made small.
check "two local directories, 2000 operations, seed $seed" in_step "$L/other" "$L" --same --ops 2000 --seed "$seed"
in_step "$L/other" "$L" --same --sabotage --ops 2000 --seed 1 > found 2>&1
same "a byte that is lost on one side is found" 1 $?
within "and the history that loses it is made small" 1 6 "$(grep -c '^{' found)"

cluster_up
check "one process, $ops operations, seed $seed" in_step "$MNT" "$L" --ops "$ops" --seed "$seed"
check "two processes, $ops operations, seed $seed" in_step "$MNT" "$L" --processes 2 --ops "$ops" --seed "$seed"
check "verify finds nothing wrong" verify
