# limit: 600
# A loop of sqlite3 transactions goes on while servers die; every row that was acknowledged is there.
skip_without sqlite3
cluster_up
load() { sqlite3 "$MNT/db$1" 'create table t(n integer primary key);' && in_rounds "load$1" insert "$MNT/db$1"; }
insert() { sqlite3 "$1" "insert into t values($2);"; }
progress() { rounds_of "load$1"; }
outcome() {
  local last; last=$(progress "$1")
  [ "$(sqlite3 "$MNT/db$1" 'pragma integrity_check;')" = ok ] &&
    [ "$(sqlite3 "$MNT/db$1" 'select count(*), max(n) from t;')" = "$last|$last" ]
}
START=10 MORE=10 survives_each_victim
check "verify finds nothing wrong" verify
