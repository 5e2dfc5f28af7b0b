# limit: 90
# status answers within a second however much is broken, with documented keys and exit codes.
config 'io_timeout = "3s"'
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

# Without a quorum no server has a lease: nothing can be read, and nobody is said to serve.
crash fsd1 fsd3 witness
need wait_until 20 not has_leader
quick "three dead: within a second" r status
r status > "$CASE_DIR/said"
cat "$CASE_DIR/said"
check "nothing can be read or changed" \
  grep -q "^unavailable: nobody leads (2 of 5 voters answer, 3 are needed), so nobody serves: nothing can be read" "$CASE_DIR/said"
refuse "nobody is said to serve" grep -qE "its mirror|all is served|alone" "$CASE_DIR/said"
same "nobody serves either pair" 2 "$(grep -c '^fsd[13]+fsd[24] *NOBODY' "$CASE_DIR/said")"
cannot_list() { "$BIN/raidfs" shell --dir "$DIR" --read-only <<< 'ls /' 2>&1 | grep -q "^ls: /: input/output error"; }
check "nothing can, indeed, once their leases have ended" wait_until 20 cannot_list
back fsd1 fsd3 witness
need wait_healthy 60

# Who refuses is not called silent: fsd1's address leads to a server of another cluster, here to this one's.
sed 's/^cluster = .*/cluster = "another"/' "$DIR/raidfs.toml" > "$CASE_DIR/another.toml"
refused='fsd1 is not reached \(refused: .*is of the cluster .another., fsd1 is of .*has the wrong configuration\)'
fails_with "another cluster's" "$refused" "$BIN/raidfs" status --config "$CASE_DIR/another.toml"
sed "s/:$((PORT + 1))\"/:first\"/; s/:$((PORT + 2))\"/:$((PORT + 1))\"/; s/:first\"/:$((PORT + 2))\"/" "$DIR/raidfs.toml" > "$CASE_DIR/swapped.toml"
refused='fsd1 is not reached \(refused: .* means to reach fsd1, this is fsd2;'
says "who is another server says so, while others answer" "$refused" "$BIN/raidfs" status --config "$CASE_DIR/swapped.toml"
fails_with "so it does to verify" "WRONG +$refused" "$BIN/raidfs" verify --config "$CASE_DIR/swapped.toml"

crash fsd1 fsd2 fsd3 fsd4 witness mountd
quick "all dead: within a second" r status
says "and it is said" "^unavailable: nothing of it runs" r status
fails_with "without a cluster there is a clear error" "no cluster in" "$BIN/raidfs" status --dir "$CASE_DIR/none"
same "and it does not count as degraded" 2 "$("$BIN/raidfs" status --dir "$CASE_DIR/none" 2> /dev/null; echo $?)"
