# limit: 90
# A place that is no mount point is refused, and a second mount of the same store too.
cluster_up
m() { timeout 20 "$BIN/mountd" --config "$DIR/raidfs.toml" "$1"; }
fails_with "missing" "cannot use the mount point" m "$CASE_DIR/none"
fails_with "missing, with a directory for files of its own" "cannot use the mount point" \
  timeout 20 "$BIN/mountd" --config "$DIR/raidfs.toml" --cache "$CASE_DIR/cache/here" "$CASE_DIR/none"
refuse "nothing was made for what was refused" test -e "$CASE_DIR/cache"
echo x > "$CASE_DIR/file"
fails_with "not a directory" "not a directory" m "$CASE_DIR/file"
mkdir "$CASE_DIR/full"; echo x > "$CASE_DIR/full/x"
fails_with "not empty" "not empty" m "$CASE_DIR/full"
same "what is in it stays" x "$(cat "$CASE_DIR/full/x")"
fails_with "mounted already" "mounted at" m "$MNT"
mkdir "$CASE_DIR/second"
fails_with "a second mountd on the same store, with who holds it" "mounted already by .*$MNT" m "$CASE_DIR/second"
check "the first mount is unharmed" sh -c 'echo x > "$1/f" && cat "$1/f"' - "$MNT"
fails_with "no /dev/fuse" "/dev/fuse" unshare -m sh -c \
  'mount -t tmpfs none /dev && exec timeout 20 "$1" --config "$2" "$3"' - "$BIN/mountd" "$DIR/raidfs.toml" "$CASE_DIR/second"

# The same by `raidfs up`, which finds it before it makes anything.
up() { timeout 60 "$BIN/raidfs" up --dir "$CASE_DIR/new" --base-port $((PORT + 10)) --mount "$1"; }
fails_with "up: not a directory" "not a directory" up "$CASE_DIR/file"
fails_with "up: below a file" "not a directory" up "$CASE_DIR/file/below"
fails_with "up: not empty" "not empty" up "$CASE_DIR/full"
fails_with "up: mounted already" "mounted" up "$MNT"
for place in new new/mnt ''; do
  fails_with "up: at ./$place with its directory ./new" "one in the other" up "$CASE_DIR${place:+/$place}"
done
fails_with "up: a cluster in a raidfs mount" "on a raidfs mount" \
  timeout 60 "$BIN/raidfs" up --dir "$MNT/new" --base-port $((PORT + 10)) --mount "$CASE_DIR/second"
refuse "nothing was made there" test -e "$MNT/new"
fails_with "up: no /dev/fuse" "/dev/fuse" unshare -m sh -c \
  'mount -t tmpfs none /dev && exec "$1" up --dir "$2" --mount "$3"' - "$BIN/raidfs" "$CASE_DIR/new" "$CASE_DIR/second"
if command -v setpriv > /dev/null; then
  as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups timeout 20 "$@"; }
  # Where these were built may be closed to others.
  chmod 755 "$CASE_DIR"; mkdir -m 1777 "$CASE_DIR/anybody"; need cp "$BIN/mountd" "$BIN/raidfs" "$CASE_DIR"
  fails_with "not root" "needs root" as_nobody "$CASE_DIR/mountd" --config "$DIR/raidfs.toml" "$CASE_DIR/second"
  fails_with "up: not root" "needs root" as_nobody "$CASE_DIR/raidfs" up --dir "$CASE_DIR/anybody/new" --mount "$CASE_DIR/anybody/mnt"
  same "nothing was made" "" "$(ls "$CASE_DIR/anybody")"
fi
refuse "up has made nothing" test -e "$CASE_DIR/new"
refuse "and nothing listens there" bash -c "exec 3<> /dev/tcp/127.0.0.1/$((PORT + 10))"
check "the cluster is healthy" healthy
