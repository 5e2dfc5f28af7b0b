# limit: 90
# A place that is no mount point is refused, and a second mount of the same store too.
cluster_up
m() { timeout 20 "$BIN/mountd" --config "$DIR/raidfs.toml" "$1"; }
fails_with "missing" "cannot use the mount point" m "$CASE_DIR/none"
echo x > "$CASE_DIR/file"
fails_with "not a directory" "not a directory" m "$CASE_DIR/file"
mkdir "$CASE_DIR/full"; echo x > "$CASE_DIR/full/x"
fails_with "not empty" "not empty" m "$CASE_DIR/full"
same "what is in it stays" x "$(cat "$CASE_DIR/full/x")"
fails_with "mounted already" "mounted at" m "$MNT"
mkdir "$CASE_DIR/second"
fails_with "a second mountd on the same store, with who holds it" "mounted already by .*$MNT" m "$CASE_DIR/second"
check "the first mount is unharmed" sh -c 'echo x > "$1/f" && cat "$1/f"' - "$MNT"
if command -v setpriv > /dev/null; then
  fails_with "not root" "root|ermission" setpriv --reuid 65534 --regid 65534 --clear-groups timeout 20 "$BIN/mountd" --config "$DIR/raidfs.toml" "$CASE_DIR/second"
fi
check "the cluster is healthy" healthy
