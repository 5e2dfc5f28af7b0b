# limit: 180
# The longest wait of a small program when a server hangs (SIGSTOP), the leader too: 1.5 s.
source "$LIB/watch.sh"
cluster_up
for victim in fsd2 fsd3 leader; do
  [ "$victim" = leader ] && who=$(leader) || who=$victim
  watch
  hang "$who"
  need wait_until 20 degraded
  check "$victim ($who) hangs, and another serves for it" has_leader
  check "the programs go on" moves_on
  resume "$who"
  check "it goes on and is brought up to date" wait_healthy 60
  watched "$victim hangs" 1500
done
check "verify finds nothing wrong" verify
