# limit: 180
# The longest wait of a small program, one small read and one small write with fsync every 20 ms, when servers are
# killed: 0.2 s. The leader is among them.
cluster_up
for victim in fsd1 fsd2 fsd3 fsd4 witness leader; do
  [ "$victim" = leader ] && who=$(leader) || who=$victim
  begin stall exec "$BIN/probe" stall "$MNT"
  need wait_until 10 test -s "$MNT/stall"
  # Some rounds before, and some after.
  rounds() { stat -c %Y "$MNT/stall"; }
  crash "$who"
  need wait_until 10 has_leader
  need wait_until 20 degraded
  pass() { [ "$(date +%s%N)" -ge "$1" ]; }
  need wait_until 5 pass $(($(date +%s%N) + 1500000000))
  tell stall
  check "no error when $victim ($who) is killed" finish stall
  cat "$(output_of stall)"
  waited=$(sed -n 's/^stall_ms=\([0-9]*\).*/\1/p' "$(output_of stall)")
  within "and no wait over 0.2 s ($waited ms)" 0 200 "$waited"
  back "$who"
  need wait_healthy 60
done
