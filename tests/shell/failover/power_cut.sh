# limit: 300
# only when asked
# Power is cut, for real: of one server, of a pair, of one of each, of everything, while programs append and sync line by line.
skip_without mkfs.ext4
skip_without mkfs.btrfs
source "$LIB/disks.sh"
source "$LIB/watch.sh"
all="fsd1 fsd2 fsd3 fsd4 witness"
# shellcheck disable=SC2086
disks_up 400M $all
cluster_up

need mkdir "$MNT/tree"
need probe tree "$MNT/tree" 200 1
sync -f "$MNT"
sums "$MNT/tree" > "$CASE_DIR/tree"
is_whole() { (cd "$MNT/tree" && sha256sum --quiet -c "$CASE_DIR/tree"); }

is_pair() { [ "$victims" = "fsd3 fsd4" ]; }
for victims in fsd2 "fsd3 fsd4" "fsd1 fsd3"; do
  for by in fsync osync msync; do
    log="$by log of ${victims// / and }"
    begin "$log" exec "$BIN/probe" log "$MNT/$log" "$by"
  done
  for by in fsync osync msync; do
    need wait_until 30 lines_at_least "$(output_of "$by log of ${victims// / and }")" 50
  done
  # What nobody synced is gone where both of a pair lose power, as on any disk: only logs are written then.
  is_pair || watch
  # shellcheck disable=SC2086
  cut_power $victims
  # shellcheck disable=SC2086
  booted $victims
  is_pair || check "the programs go on" moves_on 10
  for by in fsync osync msync; do
    log="$by log of ${victims// / and }"
    at=$(lines "$(output_of "$log")")
    check "who syncs by $by goes on" wait_until 60 lines_at_least "$(output_of "$log")" $((at + 50))
    tell "$log"
    check "and has seen no error" finish "$log"
    check "every line that it synced is there" probe log-check "$MNT/$log" "$(output_of "$log")"
  done
  check "so is what was synced before" is_whole
  check "all copies are in sync again" wait_healthy 60
  is_pair || watched "power is cut of ${victims// / and }" 1500
  check "and equal" verify
done

begin log exec "$BIN/probe" log "$MNT/log"
need wait_until 30 lines_at_least "$(output_of log)" 50
cut_power_everywhere log
check "every line that was synced is there" probe log-check "$MNT/log" "$(output_of log)"
check "so is what was synced before" is_whole
check "verify finds nothing wrong" verify
