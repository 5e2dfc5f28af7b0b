# limit: 120
# A mount that follows an unmount at once waits for the end of the one before it; it is not refused.
cluster_up
mount_again() { "$BIN/mountd" --config "$DIR/raidfs.toml" "$MNT" > "$CASE_DIR/mountd.$n" 2>&1 & }
was_refused() { grep -q "mounted already" "$CASE_DIR/mountd.$n"; }
settled() { mounted || was_refused; }
refused=0
for n in $(seq 25); do
  head -c $((n % 9 + 1))M /dev/zero > "$MNT/f"
  need umount "$MNT"
  mount_again
  need wait_until 20 settled
  if was_refused; then refused=$((refused + 1)); mount_again; need wait_until 20 mounted; fi
done
same "25 times it was mounted again at once" 0 "$refused"
need umount "$MNT"
check "verify finds nothing wrong" verify
