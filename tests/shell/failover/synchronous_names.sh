# limit: 180
# bounds no time
# On a mount with the option `sync` a name that has been made outlives a cut of everybody's power, the mount's included.
skip_without mkfs.ext4
skip_without mkfs.btrfs
source "$LIB/disks.sh"
all="fsd1 fsd2 fsd3 fsd4 witness"
# shellcheck disable=SC2086
disks_up 400M $all
cluster_up
need "$BIN/mountd" -o remount,sync "$MNT"
need wait_until 10 sh -c "grep -F ' $MNT ' /proc/self/mountinfo | grep -qw sync"
make() { local n=0; while mkdir "$MNT/$n"; do echo $n; n=$((n + 1)); done; }
begin maker make
need wait_until 60 lines_at_least "$(output_of maker)" 200
cut_power_everywhere maker
made=$(grep -c . "$(output_of maker)")
within "it was cut while names were made, of which all are there" "$made" $((made + 1)) "$(find "$MNT" -mindepth 1 -maxdepth 1 | wc -l)"
same "the last, too" $((made - 1)) "$(cd "$MNT" && ls -d $((made - 1)))"
check "verify finds nothing wrong" verify
