# limit: 90
# The ports of the servers lie where the kernel takes those from that programs connect from, and there are few others. So who
# connects to a server that is away is given that server's own port, and is connected to itself: it can be started all the same.
skip_without unshare
skip_without ip
inside() {
  ip link set lo up && echo "$PORT $((PORT + 60))" > /proc/sys/net/ipv4/ip_local_port_range || return 1
  "$BIN/raidfs" up --dir "$DIR" --mount "$MNT" --base-port "$PORT" && "$BIN/raidfs" status --dir "$DIR" --wait-healthy 30 || return 1
  local round try
  for round in 1 2 3; do
    "$BIN/raidfs" kill fsd2 --dir "$DIR" || return 1
    # Each asks all servers, the one that is away, too.
    for try in $(seq 40); do "$BIN/raidfs" status --dir "$DIR" > /dev/null; done
    echo "round $round, $try times" > "$MNT/f" || return 1
    "$BIN/raidfs" start fsd2 --dir "$DIR" && "$BIN/raidfs" status --dir "$DIR" --wait-healthy 30 || return 1
  done
  "$BIN/raidfs" verify --dir "$DIR" && "$BIN/raidfs" down --dir "$DIR"
}
export -f inside
export BIN DIR MNT PORT
check "a server that was killed starts again, three times" unshare -n bash -c inside
