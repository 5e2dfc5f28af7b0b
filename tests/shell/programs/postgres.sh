# limit: 180
# postgres: initdb, pgbench, and a crash: every postgres process killed at once in the middle of both. What it had
# acknowledged is there once it has recovered, and all page sums are right.
pg_bin=$(postgres_programs)
[ -n "$pg_bin" ] || skip initdb
postgres_at "$D"
check "initdb" postgres_init
need postgres_start
check "pgbench makes its tables" pg pgbench -q -i -s 1
check "pgbench runs" pg pgbench -n -c 4 -j 2 -t 50
need sql 'create table acked(n integer primary key)' > /dev/null
begin bench pg pgbench -n -c 4 -j 2 -t 1000000
begin rows rows_acknowledged
need wait_until 20 lines_at_least "$(output_of rows)" 20
need running bench
check "killed in the middle, every process of it" postgres_crash
refuse "which its programs notice" finish rows
finish bench || :
check "it recovers" postgres_start
check "every row that was acknowledged is there" postgres_has_rows
check "the accounts, tellers and branches add up" postgres_adds_up
check "it ends in order" postgres_stop
says "all page sums are right" "^Bad checksums: +0" pg pg_checksums --check -D "$D/data"
