# sqlite3 killed (-9) in the middle of a transaction, in both journal modes: what it had written of it is undone, what
# it had committed is there.
skip_without sqlite3
listener() { exec sqlite3 "$1" < "$2"; }
for mode in delete wal; do
  db=$mode.db
  sqlite3 $db "pragma journal_mode=$mode; create table t(n integer primary key, v text);" > /dev/null
  mkfifo $mode.said
  exec 9<> $mode.said
  begin $mode listener $db $mode.said
  # A small cache makes it write pages of the unfinished transaction into its files.
  cat >&9 << SQL
pragma cache_size=10;
pragma wal_autocheckpoint=0;
insert into t(v) values('committed');
begin;
with recursive c(n) as (select 1 union all select n + 1 from c where n < 5000) insert into t(v) select 'undone ' || n from c;
update t set v = 'changed';
.system touch $mode.middle
SQL
  need wait_until 30 test -e $mode.middle
  case $mode in
    delete) check "$mode: it has a journal in the middle" test -s $db-journal ;;
    wal) check "$mode: the log has pages of the middle" test "$(stat -c %s $db-wal)" -gt 50000 ;;
  esac
  check "$mode: it is killed" kill -KILL "${LOADS[$mode]}"
  refuse "$mode: and ends" finish $mode
  exec 9>&-
  same "$mode: only what was committed is there" "committed" "$(sqlite3 $db 'select v from t;')"
  same "$mode: the file is sound" ok "$(sqlite3 $db 'pragma integrity_check;')"
  check "$mode: another can write" sqlite3 $db "insert into t(v) values('after');"
  refuse "$mode: no journal is left" test -s $db-journal
done
