# sqlite3 in both journal modes, also from two processes.
skip_without sqlite3
for mode in delete wal; do
  db=$mode.db
  same "journal_mode=$mode is taken" $mode "$(sqlite3 $db "pragma journal_mode=$mode;")"
  sqlite3 $db 'create table t(n integer primary key, v text);'
  insert() { for i in $(seq 1 40); do sqlite3 -cmd '.timeout 20000' "$1" "insert into t(v) values('$2 $i');" || return 1; done; }
  begin one insert $db one; begin two insert $db two
  check "$mode: the first writer ends well" finish one
  check "$mode: the second too" finish two
  same "$mode: every row is there" 80 "$(sqlite3 $db 'select count(*) from t;')"
  same "$mode: the file is sound" ok "$(sqlite3 $db 'pragma integrity_check;')"
done
