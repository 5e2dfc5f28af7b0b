# limit: 120
# The longest wait of a small program when a server hangs (SIGSTOP), the leader too: 1.5 s.
cluster_up
for victim in fsd2 fsd3 leader; do
  [ "$victim" = leader ] && who=$(leader) || who=$victim
  begin stall exec "$BIN/probe" stall "$MNT"
  need wait_until 10 test -s "$MNT/stall"
  hang "$who"
  need wait_until 20 degraded
  check "$victim ($who) hangs, and another serves for it" has_leader
  tell stall
  check "no program saw an error" finish stall
  cat "$(output_of stall)"
  within "and no wait over 1.5 s" 0 1500 "$(sed -n 's/^stall_ms=\([0-9]*\).*/\1/p' "$(output_of stall)")"
  resume "$who"
  check "it goes on and is brought up to date" wait_healthy 60
done
check "verify finds nothing wrong" verify
