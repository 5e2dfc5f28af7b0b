# limit: 600
# A storm of renames goes on while servers die: none fails, none is done twice, no file is lost.
cluster_up
load() { mkdir "$MNT/storm$1" && exec "$BIN/probe" storm "$MNT/storm$1" 40; }
# The generations in the names grow with every rename.
progress() { find "$MNT/storm$1" -type f 2> /dev/null | sed 's/.*\.//' | awk '{ n += $1 } END { print n + 0 }'; }
outcome() { [ "$(find "$MNT/storm$1" -type f | wc -l)" = 40 ]; }
START=100 MORE=100 survives_each_victim
check "verify finds nothing wrong" verify
