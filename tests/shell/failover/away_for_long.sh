# limit: 1800
# only when asked
# A server is away for more entries of the log than the others keep, and comes back while the store is in use: it is sent
# all names, catches up, and serves everything alone when its mirror is killed.
source "$LIB/watch.sh"
entries=100000 # KEEP_ENTRIES
# Each change is an entry of its own when it is answered once it is made.
config 'durability = "strict"'
cluster_up
need probe tree "$CASE_DIR/tree" 500 6
need cp -a "$CASE_DIR/tree" "$MNT/before"
away=fsd4
is_leader $away && { need r stop $away; need r start $away; need wait_healthy 60; }
applied() { json /servers/0/applied; }
crash $away
from=$(applied)
# What it knows goes, what it has never heard of comes: and comes and goes until nobody's log begins with what it lacks. Names
# are long, as a log loses whole segments only.
need rm -r "$MNT/before"
need cp -a "$CASE_DIR/tree" "$MNT/meanwhile"
need mkdir "$MNT/many"
first_kept() { local n; n=$(basename "$(find "$DIR/data/$1/log" -name '*.log' | sort | head -n 1)" .log); echo $((10#$n)); }
long_enough() { local name; for name in fsd1 fsd2 fsd3; do [ "$(first_kept $name)" -gt "$from" ] || return 1; done; }
rounds=0 long=$(printf '%0200d' 0)
until long_enough; do
  rounds=$((rounds + 1))
  need sh -c 'cd "$1" && seq -f "$3%05.0f" "$2" | xargs touch && seq -f "$3%05.0f" "$2" | xargs rm' - "$MNT/many" 5000 "$long"
done
within "it is away for more than $entries entries, $rounds rounds" $entries 10000000 $(($(applied) - from))

round() { cp -a "$CASE_DIR/tree" "$MNT/load$1" && same_trees "$CASE_DIR/tree" "$MNT/load$1"; }
begin load in_rounds load round
need wait_until 60 lines_at_least "$(output_of load)" 1
says_so() { grep -h "fsd4 is far behind: sending it all names" "$DIR"/log/fsd*.log; }
watch
refuse "nobody was sent all names before" says_so
back $away
check "it is sent all names" wait_until 120 says_so
check "and is in sync while the store is in use" wait_until 300 copy_is $away "in sync"
tell load
check "who used it notices nothing" finish load
check "all is healthy" wait_healthy 120
watched "a server comes back that was away for long" 1500
crash "$(mirror_of $away)"
echo 3 > /proc/sys/vm/drop_caches
check "alone it serves what came while it was away" same_trees "$CASE_DIR/tree" "$MNT/meanwhile"
for n in $(cat "$(output_of load)"); do
  check "and while it came back ($n)" same_trees "$CASE_DIR/tree" "$MNT/load$n" || break
done
refuse "what went is gone" test -e "$MNT/before"
back "$(mirror_of $away)"
check "all is healthy" wait_healthy 120
check "verify finds nothing wrong" verify
