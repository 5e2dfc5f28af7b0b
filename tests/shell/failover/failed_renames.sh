# limit: 120
# only when asked
# A server that catches up, and whose disk gives an error for each rename: no program sees it, it does not serve, which `status`
# and its log say; once its disk is well and it was started again it catches up.
skip_without strace
source "$LIB/watch.sh"
source "$LIB/disks.sh"
victim=fsd2 mirror=fsd1
cluster_up

says_so() { r status | grep -E "$victim (has trouble with its disk|is down|hangs)|$victim's copy is stale"; }
said() { grep -a "Input/output error" "$DIR/log/$victim.log"; }

need mkdir "$MNT/kept"
fill() { for n in $(seq 20); do need dd if=/dev/urandom of="$MNT/kept/$n" bs=100k count=1 status=none; done; need sync "$MNT"/kept/*; }
fill
crash $victim
fill
sums "$MNT/kept" > "$CASE_DIR/kept"
is_right() { echo 3 > /proc/sys/vm/drop_caches; (cd "$MNT/kept" && sha256sum --quiet -c "$CASE_DIR/kept"); }
# It cannot begin to catch up before its disk is bad.
hang $mirror
back $victim
faulty $victim error=EIO rename,renameat,renameat2
resume $mirror
watch
check "renames fail" wait_until 30 had_faults $victim
check "its log says so" wait_until 10 said
check "status says that it does not serve" wait_until 5 says_so
check "the programs go on" moves_on
check "everything is right" is_right
refuse "it does not come into sync" copy_is $victim "in sync"
faultless $victim
watched "renames fail" 1500
[ "$(json "/servers/1/up")" != true ] || need r stop $victim
back $victim
check "started anew it is brought up to date" wait_healthy 60
check "and everything is right" is_right
check "verify finds nothing wrong" verify
