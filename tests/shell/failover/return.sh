# limit: 300
# A server that was away catches up by itself while the mount is in use: 2,000 files and 200 MB in under 5 s.
need probe tree "$CASE_DIR/tree" 2000 3
cluster_up
head -c 1000000 /dev/urandom > "$MNT/old"
crash fsd2
need cp -a "$CASE_DIR/tree" "$MNT/new"
write() { for i in 1 2 3 4 5 6 7 8 9 10; do need dd if=/dev/urandom of="$MNT/big$i" bs=1M count=20 conv=fsync status=none; done; }
wrote=$(millis write)
echo changed >> "$MNT/old"; rm "$MNT/big3"
check "meanwhile it is degraded, and served" degraded
back fsd2
took=$(millis wait_until 60 copy_is fsd2 "in sync")
check "it is in sync again" copy_is fsd2 "in sync"
# Promised of programs as they are installed. For a build without optimisation, whose disk may be slow or shared, too, the
# bound is 15 s, or twice what the writing took.
optimised && bound=5000 || bound=$((wrote > 7500 ? 2 * wrote : 15000))
within "within 5 s, or for a debug build 15 s ($took ms)" 0 "$bound" "$took"
echo "caught up in $took ms, written in $wrote ms"
says "its own log says so, too" "this server's copy is in sync: it serves" tail -n 3 "$DIR/log/fsd2.log"
check "all is healthy" wait_healthy 20
check "what was written meanwhile is there" same_trees "$CASE_DIR/tree" "$MNT/new"
crash fsd1
same "its mirror dies, and it serves alone what it was given" changed "$(tail -c 8 "$MNT/old" | tr -d '\n')"
check "all of it" same_trees "$CASE_DIR/tree" "$MNT/new"
back fsd1
need wait_healthy 60
check "verify finds nothing wrong" verify
