# A postgres of the case's own in a directory; it refuses to be root, so it is nobody.

# postgres_programs: where initdb and the server are, which Debian keeps off the path; nothing if they are not here.
postgres_programs() {
  local found
  found=$(command -v initdb) || found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  [ -x "$found" ] && dirname "$(readlink -f "$found")"
}

# postgres_at DIR: the directory of its data and its socket. pg_bin is set by the case.
postgres_at() {
  pg_dir=$1
  need chown nobody "$pg_dir"
  export PGHOST=$pg_dir PGDATABASE=postgres PGUSER=nobody
}

# pg PROGRAM...: a program of postgres, as nobody.
pg() {
  local program=$1; shift
  setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$pg_bin/$program" "$@"
}
sql() { pg psql -X -q -A -t -v ON_ERROR_STOP=1 -c "$1"; }

postgres_init() { pg initdb -D "$pg_dir/data" -A trust -E UTF8 --locale=C -k --wal-segsize=1; }
postgres_server() {
  exec setpriv --reuid=65534 --regid=65534 --clear-groups "$pg_bin/postgres" -D "$pg_dir/data" -k "$pg_dir" \
    -c listen_addresses= -c shared_buffers=16MB -c min_wal_size=2MB -c max_wal_size=16MB
}
postgres_start() {
  begin postgres postgres_server && wait_until 60 postgres_answers && return
  tail -n 20 "$CASE_DIR/postgres.err"
  return 1
}
postgres_answers() { [ "$(sql 'select 1')" = 1 ]; }
# Its way to end at once, but in order.
postgres_stop() { kill -INT "${LOADS[postgres]}" && finish postgres; }
# The server and all that it started, stopped first so that none sees another die.
postgres_crash() {
  local pids
  kill -STOP "${LOADS[postgres]}" || return 1
  mapfile -t pids < <(echo "${LOADS[postgres]}"; ps -o pid= --ppid "${LOADS[postgres]}")
  # shellcheck disable=SC2086
  kill -STOP ${pids[*]} && kill -KILL ${pids[*]}
  ! finish postgres
}

# rows_acknowledged: inserts row after row, each a transaction, and prints each that is done.
rows_acknowledged() {
  local from; from=$(sql 'select coalesce(max(n), 0) + 1 from acked') || return 1
  seq -f 'insert into acked values(%.0f) returning n;' "$from" 1000000 | pg psql -X -q -A -t -v ON_ERROR_STOP=1
}
postgres_has_rows() {
  local last; last=$(tail -n 1 "$(output_of rows)")
  [ "$(sql "select count(*) from acked where n <= $last")" = "$last" ]
}
postgres_adds_up() {
  [ "$(sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)
    and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)')" = t ]
}
