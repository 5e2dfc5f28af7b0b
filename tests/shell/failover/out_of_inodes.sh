# limit: 180
# Others use up the inodes of one server's disk: its mirror serves, `status` says why, and it is back once there are some.
skip_without mkfs.ext4
source "$LIB/watch.sh"
victim=fsd2
for name in fsd1 fsd2 fsd3 fsd4; do local_ext4 "$DIR/data/$name" 256M -m 0 -N 4000; done
cluster_up
others=$DIR/data/$victim/others
need mkdir "$others"
use_up() { local n=0; while : > "$others/$n"; do n=$((n + 1)); done 2> /dev/null; }
left() { df --output=iavail "$DIR/data/$victim" | tail -n 1 | tr -d ' '; }
more=0
make_some() { more=$((more + 1)); echo "$more" > "$MNT/more$more" && sync "$MNT/more$more" || return; "$@"; }
says_so() { r status | grep -E "$victim has trouble with its disk: no room is left on it"; }

watch
use_up
within "no inode is left on its disk" 0 5 "$(left)"
check "files are made all the same, and it says that there is no room" wait_until 60 make_some says_so
check "its mirror serves" moves_on
check "the first line has it" grep -q "^degraded: .*no room is left on it" <(r status)
need rm -r "$others"
check "it is back by itself once there is some" wait_healthy 60
refuse "and nothing is said of it any more" says_so
watched "no inode is left" 1500
all_are_right() { local n; for n in $(seq $more); do [ "$(cat "$MNT/more$n")" = "$n" ] || return; done; }
check "every file is right" all_are_right
check "verify finds nothing wrong" verify
