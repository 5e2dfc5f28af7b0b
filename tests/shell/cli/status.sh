# limit: 90
# status answers within a second however much is broken, with documented keys and exit codes.
cluster_up
for key in /verdict /reasons/0 /cluster /leader /servers/0/name /servers/0/address /servers/0/up /servers/0/pid \
  /servers/0/copy /servers/0/applied /servers/0/space/free /servers/0/requests/reads /servers/4/witness \
  /pairs/0/servers/0 /pairs/1/serving/1 /pairs/0/epoch /mount/path /mount/state /session/id; do
  check "the key $key is there" test -n "$(json $key)"
done
says "--config works from anywhere" "^healthy" "$BIN/raidfs" status --config "$DIR/raidfs.toml"
quick() { # WHAT COMMAND...
  local what=$1 took; shift
  took=$(millis "$@")
  within "$what" 0 1200 "$took"
}
quick "healthy: within a second" r status
check "--wait-healthy takes the longest time that there is" r status --wait-healthy 18446744073709551615
hang fsd1 fsd3
quick "two hang: within a second" r status
says "they are named" "fsd1 hangs" r status
hang fsd2 fsd4 witness
quick "all hang: within a second" r status
same "exit code 2" 2 "$(r status > /dev/null; echo $?)"
resume fsd1 fsd2 fsd3 fsd4 witness
check "all go on" wait_healthy 60
crash fsd1 fsd2 fsd3 fsd4 witness mountd
quick "all dead: within a second" r status
says "and it is said" "^unavailable: nothing of it runs" r status
fails_with "without a cluster there is a clear error" "no cluster in" "$BIN/raidfs" status --dir "$CASE_DIR/none"
same "and it does not count as degraded" 2 "$("$BIN/raidfs" status --dir "$CASE_DIR/none" 2> /dev/null; echo $?)"
