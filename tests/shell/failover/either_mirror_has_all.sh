# limit: 300
# bounds no time
# What was synced is on both mirrors: killed and started again in turn, each serves all of it alone.
cluster_up
head -c 20000000 /dev/urandom > "$CASE_DIR/data"
need cp "$CASE_DIR/data" "$MNT/f"; need sync "$MNT/f"
for side in "fsd1 fsd3" "fsd2 fsd4"; do
  # shellcheck disable=SC2086
  crash $side
  echo 3 > /proc/sys/vm/drop_caches
  check "without ${side/ / and } it is whole" cmp "$CASE_DIR/data" "$MNT/f"
  # shellcheck disable=SC2086
  back $side
  need wait_healthy 60
done
check "verify finds nothing wrong" verify
