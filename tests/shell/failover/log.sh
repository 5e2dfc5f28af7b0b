# limit: 600
# Append logs with fsync per line, one on each pair, go on while servers die; every acknowledged line is there, once, in
# order.
cluster_up
load() {
  local pair
  # Not ignored, which the logs would inherit.
  trap : TERM
  for pair in 1 2; do begin "log$1-$pair" exec "$BIN/probe" log "$(on_pair $pair "log$1")" 3>&-; done
  until told "load$1" || ! running "log$1-1" || ! running "log$1-2"; do wait_until 1 told "load$1"; done
  # It may see that it was told before the signal has come, which would end its waiting for them.
  trap '' TERM
  for pair in 1 2; do tell "log$1-$pair"; done
  finish "log$1-1" && finish "log$1-2"
}
# That of the one which is behind.
progress() {
  local one two
  one=$(lines "$(output_of "log$1-1")") && two=$(lines "$(output_of "log$1-2")") || { echo 0; return; }
  echo $((one < two ? one : two))
}
outcome() {
  local pair
  for pair in 1 2; do probe log-check "$MNT/log$1-$pair"-*/"log$1" "$(output_of "log$1-$pair")" || return 1; done
}
START=50 MORE=50 survives_each_victim
check "verify finds nothing wrong" verify
