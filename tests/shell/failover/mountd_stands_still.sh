# limit: 90
# bounds no time
# The mount's process stands still for longer than a session's lease, and nobody else wants the store: programs wait, and go
# on where they were.
cluster_up
# It is waited for as long as it stands still.
SMALL_WAIT=
begin_small
begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 10 lines_at_least "$(output_of log)" 5
mount_pid=$(pid_of mountd)
need hang mountd
check "it stands still" stopped "$mount_pid"
pass_time 13000
had=$(lines "$(output_of log)")
resume mountd
check "a program goes on" wait_until 20 lines_at_least "$(output_of log)" $((had + 5))
end_small "its mount stood still for 13 s"
tell log
check "it has seen no error" finish log
check "every synced line is there" probe log-check "$MNT/log" "$(output_of log)"
same "by the same process" "$mount_pid" "$(pid_of mountd)"
check "verify finds nothing wrong" verify
