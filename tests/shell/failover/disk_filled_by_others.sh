# limit: 300
# Others fill a server's disk to the last byte, so that not even its log can be written: its mirror serves, programs notice
# nothing, `status` and one line of its log say so; once there is room it is back by itself, also if it was killed meanwhile.
source "$LIB/watch.sh"
skip_without mkfs.ext4
for name in fsd1 fsd2 fsd3 fsd4; do local_ext4 "$DIR/data/$name" 96M -m 0; done
cluster_up
others() { echo "$DIR/data/$1/others"; }
free_kib() { df -k --output=avail "$DIR/data/$1" | tail -n 1 | tr -d ' '; }
# fill NAME: to the last byte, and what is given back at once, too.
fill() { cat /dev/zero >> "$(others "$1")" 2> /dev/null; [ "$(free_kib "$1")" -le 4 ]; }
says_so() { r status | head -n 1 | grep -qE "$1 has trouble with its disk: no room on the disk of .*it goes on by itself"; }
# One fill is not the last word: the server drops old parts of its log.
filled_until() { local name=$1; shift; fill "$name"; "$@"; }

names_change_until() { local i; for i in $(seq 100); do : > "$MNT/some$i"; done; rm "$MNT"/some*; "$@"; }
lines_about_room() { grep -c "no room on the disk of .* goes on by itself" "$DIR/log/$1.log"; }

both_have_room() { [ "$(json /pairs/0/space/free)" -gt 1000000 ] && [ "$(json /pairs/1/space/free)" -gt 1000000 ]; }

for name in fsd2 "$(leader)"; do
  before=$(lines_about_room "$name")
  watch
  check "$name: while its disk is filled the load goes on" moves_on
  check "$name: it says that there is no room" wait_until 60 filled_until "$name" says_so "$name"
  check "$name: its mirror serves" moves_on
  same "$name: its log says so in one line" $((before + 1)) "$(lines_about_room "$name")"
  watched "$name: its disk is full" 1500
  check "$name: the rest is well" degraded
  need kill -KILL "$(pid_of "$name")"
  need wait_until 10 gone "$(pid_of "$name")"
  begin start r start "$name"
  # It may live until something cannot be written: the log, for which there has to be some.
  check "$name: started again it waits, and says so" wait_until 60 filled_until "$name" names_change_until says_so "$name"
  need rm "$(others "$name")"
  finish start
  check "$name: it is back by itself once there is room" wait_healthy 60
  # Files go to that pair again once its servers have said so, every two seconds.
  need wait_until 20 both_have_room
done
check "verify finds nothing wrong" verify
