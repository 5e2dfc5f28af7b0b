# limit: 600
# bounds no time
# postgres under load goes on while servers die, one of each pair at once too; killed itself while a server is away, it
# recovers on what is left, with every row that it acknowledged.
pg_bin=$(postgres_programs)
[ -n "$pg_bin" ] || skip initdb
cluster_up
mkdir "$MNT/pg"
postgres_at "$MNT/pg"
need postgres_init
need postgres_start
need pg pgbench -q -i -s 1
need sql 'create table acked(n integer primary key)'
transactions() { pg pgbench -n -c 4 -j 2 -t 25 > /dev/null; }
begin bench in_rounds bench transactions
begin rows rows_acknowledged
need wait_until 30 lines_at_least "$(output_of rows)" 20
for victim in leader "fsd1 fsd3" "fsd2 fsd4"; do
  [ "$victim" = leader ] && who=$(leader) || who=$victim
  at=$(wc -l < "$(output_of rows)") rounds=$(rounds_of bench)
  # shellcheck disable=SC2086
  crash $who
  further() { lines_at_least "$(output_of rows)" $((at + 30)) && [ "$(rounds_of bench)" -gt "$rounds" ]; }
  check "it goes on without ${who/ / and }" wait_until 60 further
  # shellcheck disable=SC2086
  back $who
  check "${who/ / and } came back and is in sync" wait_healthy 60
done
tell bench
check "pgbench noticed nothing, $(rounds_of bench) times" finish bench
crash fsd2
check "postgres is killed, too" postgres_crash
finish rows || :
check "it recovers without fsd2" postgres_start
check "every row that was acknowledged is there" postgres_has_rows
check "the accounts, tellers and branches add up" postgres_adds_up
check "it ends in order" postgres_stop
back fsd2
check "fsd2 came back and is in sync" wait_healthy 60
says "all page sums are right" "^Bad checksums: +0" pg pg_checksums --check -D "$MNT/pg/data"
check "verify finds nothing wrong" verify
