# limit: 180
# only when asked
# A server's disk gives an error for a sync: of one chunk, then of everything. No program sees it, the server takes itself out,
# which `status` and its log say, and nothing makes up for it but a copy from the mirror.
skip_without strace
source "$LIB/watch.sh"
source "$LIB/disks.sh"
victim=fsd2
cluster_up

is_let_back() { copy_is $victim "in sync"; }
says_so() { r status | grep -E "$victim (has trouble with its disk|is down|hangs)|$victim's copy is stale"; }
said() { grep -a "Input/output error" "$DIR/log/$victim.log" | grep -aE "$1"; }
overwrite() { dd if=/dev/urandom of="$1" bs=4k count=1 conv=notrunc,fsync status=none; }

file=$(on_pair 1 synced)
need dd if=/dev/urandom of="$file" bs=1M count=1 conv=fsync status=none
watch
faulty $victim error=EIO fdatasync,fsync "$(chunk_file $victim "$file")"
check "a synced write succeeds" overwrite "$file"
check "though its sync has failed on one of the two" had_faults $victim
check "that one takes itself out" wait_until 10 put_out $victim
check "its log says why" wait_until 5 said "sync chunk"
check "status says so" wait_until 5 says_so
check "the programs go on" moves_on
faultless $victim
# A sync that succeeds afterwards proves nothing: what the first one should have written may be gone from memory.
check "synced again, now that it could be" overwrite "$file"
refuse "it is not let back without a new beginning" is_let_back
watched "a sync of a chunk fails" 1500
need r stop $victim
back $victim
check "started anew it is brought up to date" wait_healthy 60
check "verify finds nothing wrong" verify

watch
faulty $victim error=EIO fdatasync,fsync,syncfs
check "a synced write succeeds when all syncs fail there" overwrite "$file"
check "that one is put out" wait_until 10 put_out $victim
check "its log says it" wait_until 5 said "sync"
check "status says so, too" wait_until 5 says_so
check "the programs go on then, too" moves_on
faultless $victim
watched "all syncs fail" 1500
# What it lives by could not be written: it may have ended.
[ "$(json "/servers/1/up")" != true ] || need r stop $victim
back $victim
check "it is brought up to date once more" wait_healthy 60
check "verify finds nothing wrong then" verify
