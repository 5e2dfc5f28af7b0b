# limit: 120
# up makes, finds again and changes nothing; down leaves nothing but the data.
check "up makes a cluster and mounts it" "$BIN/raidfs" up --dir "$DIR" --mount "$MNT" --base-port "$PORT"
check "it is healthy when it returns" healthy
rooms() { for p in 0 1; do json /pairs/$p/space/total; done; }
same "df shows the room of both pairs together, each counted once" \
  $((($(rooms | paste -sd +)) / 1024)) "$(df --output=size -k "$MNT" | tail -n 1 | tr -d ' ')"
check "the mount is usable when it returns" sh -c 'echo kept > "$1/f" && sync "$1/f"' - "$MNT"
for name in fsd1 fsd2 fsd3 fsd4 witness mountd; do
  check "DIR/run/$name.pid names its process" kill -0 "$(cat "$DIR/run/$name.pid")"
  check "DIR/log/$name.log is there" test -f "$DIR/log/$name.log"
done
check "DIR/data/fsd3 is there" test -d "$DIR/data/fsd3"
pids=$(cat "$DIR"/run/*.pid)
says "run again, it says so" "up already" "$BIN/raidfs" up --dir "$DIR"
same "and changes nothing" "$pids" "$(cat "$DIR"/run/*.pid)"
fails_with "another number of servers is refused" "4 servers" "$BIN/raidfs" up --dir "$DIR" --servers 6
fails_with "another mount point too" "is mounted at" "$BIN/raidfs" up --dir "$DIR" --mount "$CASE_DIR/other"
check "down" r down
refuse "nothing is mounted" mounted
for pid in $pids; do check "process $pid is gone" gone "$pid"; done
refuse "no pid files stay" test -e "$DIR/run"
refuse "the mount point that up made is gone" test -e "$MNT"
check "the data stays" test -d "$DIR/data/fsd1"
says "down again says so" "down already" r down
check "up starts the same store again, where it was mounted" "$BIN/raidfs" up --dir "$DIR"
same "with what was in it" kept "$(cat "$MNT/f")"
check "and down again" r down
