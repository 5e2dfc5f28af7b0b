# limit: 240
# only when asked
# Servers and witness are stopped in good order and started again, one after the other, as for an upgrade, under load: no
# program sees an error or waits for more than 0.3 s.
source "$LIB/watch.sh"
cluster_up
watch
started() { tr '\0' ' ' < "/proc/$(pid_of "$1")/stat" | cut -d' ' -f22; }
# The leader last, so that it hands over to one that need not do so once more.
first=$(leader)
for name in $(printf '%s\n' fsd1 fsd2 fsd3 fsd4 witness | grep -vx "$first") "$first"; do
  before=$(started "$name")
  need r stop "$name"
  check "$name is stopped, and the programs go on" moves_on
  back "$name"
  need wait_healthy 60
  refuse "$name is another process now" [ "$before" = "$(started "$name")" ]
done
watched "servers restarted one after the other" 300
check "verify finds nothing wrong" verify
