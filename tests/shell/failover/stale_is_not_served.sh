# limit: 300
# bounds no time
# The copy of a server that missed something is never served, even if it is the only one left.
config 'io_timeout = "2s"'
cluster_up
for i in 1 2 3 4; do echo old > "$MNT/f$i"; done
sync
for i in 1 2 3 4; do case $(holders_of "$MNT/f$i") in *fsd1*) mine=$MNT/f$i ;; esac; done
crash fsd2
need wait_until 20 copy_is fsd2 stale
echo new > "$mine"; need sync "$mine"
crash fsd1
back fsd2
drop() { echo 3 > /proc/sys/vm/drop_caches; }
drop
fails_with "its old contents are not shown" "Input/output error" cat "$mine"
says "status says why" "fsd2 is up and stale" r status
refuse "and is not in sync" copy_is fsd2 "in sync"
back fsd1
check "the other returns" wait_healthy 60
drop
same "and the new contents are read" new "$(cat "$mine")"
check "verify finds nothing wrong" verify
