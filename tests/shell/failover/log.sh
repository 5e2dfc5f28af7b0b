# limit: 600
# An append log with fsync per line goes on while servers die; every acknowledged line is there, once, in order.
cluster_up
load() { exec "$BIN/probe" log "$MNT/log$1"; }
progress() { wc -l < "$(output_of "load$1")"; }
outcome() { probe log-check "$MNT/log$1" "$(output_of "load$1")"; }
START=50 MORE=50 survives_each_victim
check "verify finds nothing wrong" verify
