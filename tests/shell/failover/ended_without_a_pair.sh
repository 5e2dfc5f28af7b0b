# limit: 240
# bounds no time
# The mount ends while both servers of a pair are away, and something was written there that only it has: whoever ends it is told,
# and no file is longer than its bytes.
config 'io_timeout = "2s"'
cluster_up
log=$(on_pair 2 log)
need sh -c 'echo first > "$1" && sync "$1"' - "$log"

crash fsd3 fsd4
echo unsent >> "$log"
fails_with "stop says that something could not be stored" "mountd has ended, and not well: .*could be stored" r stop mountd
refuse "mountd has ended" test -e "$DIR/run/mountd.pid"
back fsd3 fsd4 mountd
need wait_healthy 60
same "the file has what was stored of it" "first" "$(tr '\0' 0 < "$log")"
same "and is not longer" 6 "$(stat -c %s "$log")"
echo second >> "$log"
check "it goes on from there" sync "$log"

crash fsd3 fsd4
echo unsent >> "$log"
fails_with "down says so, too" "mountd has ended, and not well: .*could be stored" r down
for name in fsd1 fsd2 witness mountd; do refuse "and $name has ended all the same" test -e "$DIR/run/$name.pid"; done
need r up
need wait_healthy 60
same "the file has what was stored of it" "first second" "$(echo $(tr '\0' 0 < "$log"))"
need r stop mountd
check "where everything could be stored, nothing is said" test "$(r start mountd > /dev/null && r stop mountd)" = "mountd is stopped"
back mountd
check "verify finds nothing wrong" verify
