# limit: 90
# Another mount namespace, a container's perhaps, has the mount, too: it can be stopped all the same, says so, and is mounted anew.
skip_without unshare
cluster_up
need cp /etc/passwd "$MNT/f"
need mkfifo "$CASE_DIR/end"
begin holder unshare -m --propagation private sh -c 'echo "$$"; read -r _ < "$1"' - "$CASE_DIR/end"
holder() { head -n 1 "$(output_of holder)"; }
holds() { [ -n "$(holder)" ] && grep -qF " $MNT " "/proc/$(holder)/mountinfo" && ! [ "/proc/$(holder)/ns/mnt" -ef /proc/self/ns/mnt ]; }
need wait_until 10 holds
check "it is stopped" r stop mountd
check "though somebody has it still" holds
check "the log says why that took a while" grep -q "still mounted in another mount namespace" "$DIR/log/mountd.log"
check "it is mounted anew" r start mountd
check "with everything" cmp /etc/passwd "$MNT/f"
echo > "$CASE_DIR/end"
finish holder
check "verify finds nothing wrong" verify
