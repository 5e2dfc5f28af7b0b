# limit: 300
# A loop of sqlite3 transactions goes on while servers die; every row that was acknowledged is there.
skip_without sqlite3
cluster_up
load() {
  trap '' TERM
  local db=$MNT/db$1 n=0
  sqlite3 "$db" 'create table t(n integer primary key);' || return 1
  until told "load${1}"; do
    n=$((n + 1))
    sqlite3 "$db" "insert into t values($n);" || return 1
    echo $n
  done
}
progress() { tail -n 1 "$(output_of "load$1")" | grep . || echo 0; }
outcome() {
  local last; last=$(progress "$1")
  [ "$(sqlite3 "$MNT/db$1" 'pragma integrity_check;')" = ok ] &&
    [ "$(sqlite3 "$MNT/db$1" 'select count(*), max(n) from t;')" = "$last|$last" ]
}
TOLD=1 START=10 MORE=10 survives_each_victim
check "verify finds nothing wrong" verify
