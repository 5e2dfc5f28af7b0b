# limit: 240
# only when asked
# The network is split in two halves, each with one server of each pair, so that neither side lacks a copy; the witness is
# with the mount, then with the others. The side with the witness goes on; the other refuses, and shows nothing old. Then
# the halves are the pairs: on the mount's side one of them is there. After healing all are equal.
skip_without nsenter
source "$LIB/network.sh"
source "$LIB/watch.sh"
cluster_up 'io_timeout = "3s"'

# halves: splits `here` and `away`, and shows that it is so.
halves() {
  split "$here" "$away"
  refuse "${away%% *} does not reach ${here%% *}" reaches "${away%% *}" "${here%% *}"
  refuse "${here%% *} does not reach ${away%% *}" reaches "${here%% *}" "${away%% *}"
}
write() { dd if=/dev/zero of="$1" bs=4k count=1 conv=fsync,notrunc status=none; }
old_on() { seen_from "$1" "${SEEN#"$MNT"}" | grep -qx "$2"; }
hears_leader() { [ "$(json "/servers/$((${1#fsd} - 1))/hears_leader")" = true ]; }
reads() { drop; cat "$1"; }
drop() { echo 3 > /proc/sys/vm/drop_caches; }
for pair in 1 2; do FILE[pair]=$(on_pair $pair file); done
SEEN=$(on_pair 1 seen) OTHER=$(on_pair 2 other)

# The mount's side has the witness, and the leader is on the other.
away="$(leader) fsd$(case $(leader) in fsd[12]) echo 4 ;; *) echo 2 ;; esac)"
here="$(for n in 1 2 3 4; do case $away in *fsd$n*) ;; *) echo "fsd$n" ;; esac; done | tr '\n' ' ')witness mountd"
echo older > "$SEEN"; need sync "$SEEN"
lonely=${away%% *} before=$(term)
watch
check "a client there reads it" old_on "$lonely" older
halves
for name in $away; do check "$name, on the side without the witness, is put out" wait_until 20 put_out "$name"; done
echo newer > "$SEEN"; need sync "$SEEN"
refuse "the side without the witness shows nothing old" old_on "$lonely" older
check "the side with the witness goes on" moves_on
heal_all
check "after healing all copies are in sync" wait_healthy 60
watched "a split, the witness on the side of the mount" 3000
within "few elections" 1 5 $(($(term) - before))
check "and all are equal" verify

# The mount's side has two servers and no witness: what it cannot know to be agreed it does not do. All is asked at once, as
# the others end the mount's session when they have not heard it for 10 s.
away="fsd2 fsd4 witness" here="fsd1 fsd3 mountd"
echo older > "$SEEN"; need sync "$SEEN"
halves
need wait_until 5 not hears_leader fsd1
need wait_until 5 not hears_leader fsd3
begin write1 write "${FILE[1]}"
begin write2 write "${FILE[2]}"
begin name sh -c 'mkdir "$1" && sync "$1"' - "$MNT/new"
begin other old_on fsd1 older
refuse "without the witness a write is refused" finish write1
refuse "on both pairs" finish write2
# A lease that was given before the split lasts for a moment: until then nobody else can have written.
check "nothing is read any more" wait_until 5 not reads "$SEEN"
refuse "no name is made" finish name
refuse "another client there is shown nothing old" finish other
heal_all
check "after healing all copies are in sync" wait_healthy 60
check "and all are equal" verify
check "what was refused can be done now" mkdir -p "$MNT/new"
# Bytes that could not be stored are an error for whoever syncs the file next, too.
check "and written" wait_until 10 write "${FILE[1]}"
check "on both pairs" wait_until 10 write "${FILE[2]}"

# The halves are the pairs: what is on the other is refused, what is here is served.
away="fsd3 fsd4" here="fsd1 fsd2 witness mountd"
echo here > "${FILE[1]}"; echo there | tee "$OTHER" > "${FILE[2]}"; need sync "${FILE[@]}" "$OTHER"
SMALL[1]=${STALL[1]}
begin_small 1
halves
need wait_until 20 has_leader
drop
check "the pair that is here is written" write "${FILE[1]}"
fails_with "the other is not" "Input/output error" write "${FILE[2]}"
fails_with "nor read" "Input/output error" cat "$OTHER"
check "names are made" mkdir "$MNT/names"
heal_all
check "after healing all copies are in sync" wait_healthy 60
SMALL_WAIT=3000 end_small "the halves were the pairs"
same "what was refused can be read" there "$(cat "$OTHER")"
check "and what could not be written then is, when it is written again" wait_until 10 write "${FILE[2]}"
check "verify finds nothing wrong" verify
