# limit: 300
# One server of each pair dies at the same moment, the leader among them: nothing is noticed, nothing is missing.
cluster_up
lead=$(leader)
case $lead in fsd1 | fsd2) other=fsd4 ;; *) other=fsd2 ;; esac
begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 20 lines_at_least "$(output_of log)" 50
crash "$lead" "$other"
at=$(wc -l < "$(output_of log)")
check "it goes on without $lead (which led) and $other" wait_until 20 lines_at_least "$(output_of log)" $((at + 50))
tell log
check "no error" finish log
check "no line is missing" probe log-check "$MNT/log" "$(output_of log)"
back "$lead" "$other"
check "both come back" wait_healthy 60
check "verify finds nothing wrong" verify
