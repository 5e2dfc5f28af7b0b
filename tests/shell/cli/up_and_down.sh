# limit: 120
# up makes, finds again and changes nothing; down leaves nothing but the data.
check "up makes a cluster and mounts it" "$BIN/raidfs" up --dir "$DIR" --mount "$MNT" --base-port "$PORT"
now=$(date +%s)
within "the root is as old as the cluster" $((now - 60)) "$now" "$(stat -c %Y "$MNT")"
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
# Somebody took pid files away: who runs is found all the same.
need rm "$DIR/run/fsd2.pid" "$DIR/run/mountd.pid"
echo 1 > "$DIR/run/fsd3.pid"
same "status sees who has no pid file" "true true" "$(json /servers/1/up) $(json /servers/2/up)"
says "up finds them" "up already" "$BIN/raidfs" up --dir "$DIR"
same "and writes their pid files again" "$pids" "$(cat "$DIR"/run/*.pid)"
need rm "$DIR/run/fsd2.pid"
says "stop does, too" "fsd2 is stopped" r stop fsd2
check "which starts again" r start fsd2
need rm "$DIR/run/fsd2.pid"
says "and kill" "fsd2 is killed" r kill fsd2
check "which starts again" r start fsd2
if command -v setpriv > /dev/null; then
  # Where these were built may be closed to others.
  need chmod 755 "$CASE_DIR"; need cp "$BIN/raidfs" "$CASE_DIR/raidfs"
  as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$CASE_DIR/raidfs" "$@" --dir "$DIR"; }
  runs=$(pid_of fsd2)
  for command in stop kill; do
    took=$(millis fails_with "$command by another user is refused" "not permitted.*as root" as_nobody $command fsd2)
    within "at once" 0 3000 "$took"
  done
  for force in "" --force; do
    # shellcheck disable=SC2086
    fails_with "down $force by another user is, too, with the reason" "not permitted.*as root" as_nobody down $force
  done
  check "and nothing is taken away" mounted
  same "nothing happened to it" "$runs" "$(pid_of fsd2)"
  check "it is brought up to date after its start" wait_healthy 60
fi
need r stop mountd
need wait_healthy 60
says "that it is not mounted is said, though all is well" "^healthy: .*; it is not mounted: .raidfs start mountd.$" r status
need r start mountd
pids=$(cat "$DIR"/run/*.pid)
need rm -r "$DIR/run"
# But for what this case itself has done before (it has started some again and again), and for who sees another end first.
logged() { cat "$DIR"/log/fsd?.log "$DIR"/log/witness.log | grep -E " (WARN|ERROR) " | grep -vE "failed again soon|its process is gone"; }
before=$(logged | sort)
check "down" r down
same "warns of nothing, as all is in order" "$before" "$(logged | sort)"
refuse "nothing is mounted" mounted
for pid in $pids; do check "process $pid is gone" gone "$pid"; done
refuse "no pid files stay" test -e "$DIR/run"
refuse "the mount point that up made is gone" test -e "$MNT"
check "the data stays" test -d "$DIR/data/fsd1"
says "down again says so" "down already" r down
check "up starts the same store again, where it was mounted" "$BIN/raidfs" up --dir "$DIR"
same "with what was in it" kept "$(cat "$MNT/f")"
check "and down again" r down

# A name of any bytes is remembered.
odd=$CASE_DIR/$'m \xff\nx'
check "up at a mount point whose name is no text" "$BIN/raidfs" up --dir "$DIR" --mount "$odd"
same "with what was in it" kept "$(cat "$odd/f")"
says "up again finds it" "it is up already" "$BIN/raidfs" up --dir "$DIR"
check "status, too" healthy
check "kill mountd" r kill mountd
check "it is mounted anew there" r start mountd
same "with what was in it" kept "$(cat "$odd/f")"
check "down" r down
refuse "takes the directory away that it had made" test -e "$odd"
need "$BIN/raidfs" up --dir "$DIR" --mount "$MNT"
need r down

# Whenever it is interrupted, `down` finds what it had started.
ours() { pgrep -f -- "$DIR/(data|raidfs.toml)"; }
left=0
for signal in INT TERM HUP KILL; do
  for after in 0.05 0.2; do
    # As a shell has a command in the foreground: one in the background does not hear SIGINT.
    timeout --foreground -s "$signal" "$after" "$BIN/raidfs" up --dir "$DIR" > /dev/null 2>&1
    [ -z "$(ours)" ] || left=$((left + 1))
    need r down
    same "nothing runs after up with $signal after $after s, and down" "" "$(ours)"
  done
done
check "some of these had left processes" [ "$left" -gt 0 ]

# Its mountd is killed as it mounts a new cluster: nothing is left, and where it was to be is known to who tries again.
killed_as_it_mounts() {
  local up
  mkdir -p "$MNT"
  "$BIN/raidfs" up --dir "$CASE_DIR/new" --mount "$MNT" --base-port "$PORT" > "$CASE_DIR/killed" 2>&1 &
  up=$!
  until [ -s "$CASE_DIR/new/run/mountd.pid" ] || gone $up; do :; done
  [ "$1" = 1 ] || until mounted || gone $up; do :; done
  kill -KILL "$(cat "$CASE_DIR/new/run/mountd.pid")"
  ! wait $up
}
new() { local command=$1; shift; "$BIN/raidfs" "$command" --dir "$CASE_DIR/new" "$@"; }
need r down
killed=0
for n in 1 2 3; do
  if killed_as_it_mounts $n; then
    killed=$((killed + 1))
    refuse "no dead mount is left ($n)" mounted
    says "it says that it ended the servers again" "^stopped fsd1, .*witness and mountd again; the cluster stays in .*/new$" cat "$CASE_DIR/killed"
    check "it is mounted there by who does not say where" new up
    check "there, and nowhere else" mounted
  fi
  need new down
  need rm -r "$CASE_DIR/new"
done
need rmdir "$MNT"
check "it was killed before it was up" [ "$killed" -gt 0 ]
