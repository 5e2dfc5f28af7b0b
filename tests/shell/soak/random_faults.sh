# limit: 1800
# limit when long: 200000
# only when asked
# Faults of every kind, in an order that SEED decides, again and again for MINUTES (60 unless set; in the short form each
# once), under programs of several kinds that check what they do. Each has a bound on how long a small read, or write with
# fsync, may wait; memory, open files and threads of the servers and the mount have theirs.
for program in nsenter mkfs.ext4 mkfs.btrfs fsfreeze faketime fsx sqlite3 git; do skip_without $program; done
for part in network watch disks programs in_step; do
  # shellcheck source=/dev/null
  source "$LIB/$part.sh"
done
seed=${SEED:-$(date +%s)} MINUTES=${MINUTES:-60} SERVERS="fsd1 fsd2 fsd3 fsd4"
RANDOM=$seed LOCAL=$CASE_DIR/local
all="$SERVERS witness"
ext4_to_compare "$LOCAL"
# shellcheck disable=SC2086
disks_up 1G $all
cluster_up
echo "# $CASE: seed $seed" | tee /dev/fd/3

# --- who it happens to

any() { local of=("$@"); victim=${of[RANDOM % $#]}; } # sets `victim`, as a subshell would draw the same again
any_server() { any $SERVERS; }
one_of_each() { any fsd1 fsd2; victims=$victim; any fsd3 fsd4; victims="$victims $victim"; }
another_leads() { has_leader && ! is_leader "$1"; }
goes_on() { check "$fault: the programs go on" moves_on 20; }

# --- the faults: each is begun, shown to be there, lasts while the programs go on, and is ended

killed() { any $all; crash "$victim"; need wait_until 20 degraded; goes_on; booted "$victim"; }
leader_killed() { victim=$(leader); crash "$victim"; need wait_until 20 another_leads "$victim"; goes_on; booted "$victim"; }
one_of_each_killed() { one_of_each; crash $victims; need wait_until 20 degraded; goes_on; booted $victims; }
killed_again_and_again() {
  local n
  any_server
  for n in 1 2 3; do crash "$victim"; booted "$victim"; done
  goes_on
}
hung() { any $all; hang "$victim"; need wait_until 20 degraded; goes_on; resume "$victim"; }
disk_hangs() { any_server; freeze "$victim"; need wait_until 20 put_out "$victim"; goes_on; thaw "$victim"; }
disk_slow() { any_server; slow "$victim"; need wait_until 20 put_out "$victim"; goes_on; quick; }

apart_from() { need wait_until 5 not reaches "$1" "$2"; }
cut_from_all() { any_server; cut_off "$victim"; apart_from "$victim" "$(mirror_of "$victim")"; need wait_until 20 put_out "$victim"; goes_on; }
leader_cut_off() { victim=$(leader); cut_off "$victim"; need wait_until 20 another_leads "$victim"; goes_on; }
cut_from_mirror() { any_server; cut_between "$victim" "$(mirror_of "$victim")"; apart_from "$victim" "$(mirror_of "$victim")"; goes_on; }
cut_from_mount() { any_server; cut_between mountd "$victim"; apart_from mountd "$victim"; goes_on; }
cut_from_leader() {
  local leads; leads=$(leader)
  until any_server; [ "$victim" != "$leads" ]; do :; done
  cut_between "$leads" "$victim"; apart_from "$victim" "$leads"; need wait_until 20 put_out "$victim"; goes_on
}
# shellcheck disable=SC2046
not_heard() { any_server; cut_one_way $(with_each "$victim"); apart_from "$victim" "$(mirror_of "$victim")"; goes_on; }
# shellcheck disable=SC2046
hears_nobody() { any_server; cut_one_way $(each_with "$victim"); apart_from "$(mirror_of "$victim")" "$victim"; goes_on; }
cut_again_and_again() {
  local n
  any_server
  for n in 1 2 3; do cut_off "$victim"; pass_time 1000; heal_all; pass_time 1000; done
  goes_on
}
split_in_two() {
  one_of_each
  local away=$victims name here=
  for name in $SERVERS; do case " $away " in *" $name "*) ;; *) here+="$name " ;; esac; done
  split "$here witness mountd" "$away"
  for name in $away; do need wait_until 20 put_out "$name"; done
  goes_on
}

disk_full() {
  any_server
  need fallocate -l $(($(room "$victim") - 20))M "$DIR/data/$victim/ballast"
  within "$fault: nothing new fits on the disk of $victim" 0 20 "$(room "$victim")"
  goes_on
  need rm "$DIR/data/$victim/ballast"
}
room() { df -B1M --output=avail "$DIR/data/$1" | tail -n 1 | tr -d ' '; }
# What is left of the image gives errors, then the disk is replaced.
disk_fails() {
  any_server
  need sync -f "$DIR/data/$victim"
  need wait_until 30 disk_is_cut "$(image_of "$victim")" "$(findmnt -no SOURCE "$DIR/data/$victim")" $((100 << 20))
  need wait_until 60 put_out "$victim"
  goes_on
  gone "$(pid_of "$victim")" || crash "$victim"
  replaced_by_empty
}
disk_replaced() { any $all; need r stop "$victim"; replaced_by_empty; }
replaced_by_empty() {
  need umount -l "$DIR/data/$victim"
  new_disk "$victim"
  need r replace "$victim"
  booted "$victim"
  need wait_healthy 120
  goes_on
}
bits_flip() {
  local name
  for name in $SERVERS; do any $(seq 40); rot "$name" "$KEPT/$victim"; done
  check "$fault: what is damaged is found and mended" mended
  goes_on
}
# Of a file that this server has.
rot() { case $(holders_of "$2") in *"$1"*) ;; *) return ;; esac; flip "$1" "$2" $((RANDOM * 3 % 90000)); damaged=$((damaged + 1)); }
mended() { r scrub; r scrub; }

# shellcheck disable=SC2086
power_lost() { any $SERVERS "fsd1 fsd3" "fsd2 fsd4" "fsd1 fsd4" witness; cut_power $victim; booted $victim; goes_on; }
# shellcheck disable=SC2086
pair_away() { any "fsd1 fsd2" "fsd3 fsd4"; crash $victim; pass_time 3000; booted $victim; check "$fault: the programs go on" moves_on 60; }

restarted() {
  local name
  for name in $(shuffled $all); do
    need r stop "$name"
    booted "$name"
    need wait_healthy 60
  done
  goes_on
}
clock_jumps() {
  local jump
  any $all
  need r stop "$victim"
  echo +0 > "$CASE_DIR/clock"
  LD_PRELOAD=$FAKETIME FAKETIME_TIMESTAMP_FILE=$CASE_DIR/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
    DONT_FAKE_MONOTONIC=1 booted "$victim"
  need wait_healthy 60
  for jump in +3600 -3600 +0; do
    echo $jump > "$CASE_DIR/clock.new" && mv "$CASE_DIR/clock.new" "$CASE_DIR/clock"
    goes_on
  done
  need r stop "$victim"
  booted "$victim"
}
FAKETIME=$(find /usr/lib -name libfaketimeMT.so.1 2> /dev/null | head -n 1)

garbage() {
  any $all
  local n; n=$(($(number_of "$victim") % 5))
  # And so many connections at once that say nothing; the last one says much that is none.
  # shellcheck disable=SC2016
  begin flood inside operator bash -c 'for n in $(seq 300); do exec {fd}<> "/dev/tcp/$1/$2" || exit; done; ! head -c 9000000 /dev/urandom >&$fd' - \
    "$(ip_of "$victim")" "$SERVICE_PORT"
  check "$fault: what is none is dropped" inside operator "$BIN/probe" garbage "$DIR/raidfs.toml" "$n"
  need finish flood
  goes_on
}
short_of_files() { any_server; no_more_files "$victim"; goes_on; more_files "$victim"; }
mount_stands_still() { hang mountd; pass_time 4000; resume mountd; goes_on; }

# --- faults that end the mount, or lose what was not synced: what was is there afterwards

# The mount goes on, and so does who syncs.
# shellcheck disable=SC2086
pair_loses_power() {
  local at
  any "fsd1 fsd2" "fsd3 fsd4"; cut_power $victim; booted $victim
  at=$(lines "$(output_of log)")
  check "$fault: who syncs goes on" wait_until 60 lines_at_least "$(output_of log)" $((at + 20))
}

mount_killed() { crash mountd; }
session_taken() {
  local old; old=$(pid_of mountd)
  need sh -c "echo 'write /taken $RANDOM' | nsenter --net=$(space_of operator) -- '$BIN/raidfs' shell --dir '$DIR' --takeover"
  need wait_until 30 gone "$old"
}
all_killed() { crash $all mountd; booted $all; }
power_lost_everywhere() {
  local mount; mount=$(pid_of mountd)
  cut_power $all
  # The machine of the mount goes down with the others.
  kill -KILL "$mount"
  need wait_until 10 gone "$mount"
  booted $all
}

# --- the rounds

# FAULTS= and ENDS= have only these happen. Which fault may make a program wait for how long, in milliseconds; all others for 3 s.
bound_of() {
  case $1 in
    pair_away) echo 30000 ;;
    mount_stands_still) echo 7000 ;;
    *) echo 3000 ;;
  esac
}
FAULTS="${FAULTS:-killed leader_killed one_of_each_killed killed_again_and_again hung disk_hangs disk_slow cut_from_all leader_cut_off
  cut_from_mirror cut_from_mount cut_from_leader not_heard hears_nobody cut_again_and_again split_in_two disk_full disk_fails
  disk_replaced bits_flip power_lost pair_away restarted clock_jumps garbage short_of_files
  mount_stands_still}"
ENDS="${ENDS-pair_loses_power mount_killed session_taken all_killed power_lost_everywhere}"
shuffled() { local word; for word; do echo "$RANDOM $word"; done | sort -n | cut -d' ' -f2; }

KEPT=$MNT/kept
need mkdir "$KEPT"
for n in $(seq 40); do need dd if=/dev/urandom of="$KEPT/$n" bs=100000 count=1 status=none; done
need sync "$KEPT"/*
sums "$KEPT" > "$CASE_DIR/kept"
kept_is_right() { echo 3 > /proc/sys/vm/drop_caches; (cd "$KEPT" && sha256sum --quiet -c "$CASE_DIR/kept"); }

pieces=0 damaged=0
programs() { # begins two of them
  local n
  need mkdir -p "$MNT/programs"
  for n in 1 2; do
    pieces=$((pieces + 1))
    need mkdir -p "$MNT/programs/$pieces"
    begin programs$n in_rounds programs$n some_program "$MNT/programs/$pieces" $((seed + pieces * 1000))
  done
}
end_programs() {
  local n
  for n in 1 2; do tell programs$n; done
  for n in 1 2; do
    check "$fault: a program of each kind is content" finish programs$n
    grep -xE "$(tr ' ' '|' <<< "$PROGRAM_KINDS")" "$(output_of programs$n)" >> "$CASE_DIR/pieces"
  done
}

round() {
  fault=$1
  watch
  programs
  echo "# $CASE: $fault" >&3
  victim=
  "$fault"
  heal_all
  check "$fault: afterwards all is in sync" wait_healthy 120
  end_programs
  watched "$fault" "$(bound_of "$fault")"
  echo "$fault $(printf '%s\n' "$(waited stall1)" "$(waited stall2)" | sort -n | tail -n 1)" >> "$CASE_DIR/waits"
}
# What was synced before is there, for the next mount, too.
ending() {
  fault=$1
  begin log exec "$BIN/probe" log "$MNT/log-$fault"
  need wait_until 30 lines_at_least "$(output_of log)" 100
  "$fault"
  tell log; finish log || :
  if gone "$(pid_of mountd)"; then back mountd; fi
  check "$fault: it is mounted, and healthy" wait_healthy 120
  check "$fault: every line that was synced is there" probe log-check "$MNT/log-$fault" "$(output_of log)"
  need rm "$MNT/log-$fault"
  echo "$fault 0" >> "$CASE_DIR/waits"
}

# ceilings: of memory (MiB, those of a million files), of open files, of threads. Files of chunks do not count: a
# server keeps open what it has used last, 4,096 of them at most.
ceilings() {
  local name pid mib files threads
  for name in $all mountd; do
    pid=$(pid_of "$name")
    mib=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status")
    files=$(find "/proc/$pid/fd" -mindepth 1 ! -lname '*/chunks/*' | wc -l)
    threads=$(awk '/^Threads/ { print $2 }' "/proc/$pid/status")
    echo "$name $mib $files $threads" >> "$CASE_DIR/sizes"
    case $name in mountd) most=300 ;; *) most=700 ;; esac
    [ "$mib" -le $most ] && [ "$files" -le 500 ] && [ "$threads" -le 200 ] || { echo "$name: $mib MiB, $files open files, $threads threads"; return 1; }
  done
}

passes=0
while :; do
  for one in $(shuffled $FAULTS $ENDS); do
    case " $ENDS " in *" $one "*) ending "$one" ;; *) round "$one" ;; esac
    check "$one: memory, open files and threads are within bounds" ceilings
    [ "$LONG" = 0 ] || within_minutes "$MINUTES" || break 2
  done
  passes=$((passes + 1))
  check "verify finds nothing wrong" verify
  check "what was there from the beginning is right" kept_is_right
  [ "$LONG" = 1 ] && within_minutes "$MINUTES" || break
done
check "verify finds nothing wrong" verify
check "what was there from the beginning is right" kept_is_right
{
  echo "# $CASE: seed $seed, $((SECONDS / 60)) minutes, $(lines "$CASE_DIR/waits") faults; bits flipped: $damaged"
  awk '{ n[$1]++; if ($2 > most[$1]) most[$1] = $2 } END { for (f in n) print "# " f ": " n[f] " times, longest wait " most[f] " ms" }' "$CASE_DIR/waits" | sort
  sort "$CASE_DIR/pieces" | uniq -c | awk '{ printf "# %s pieces of %s\n", $1, $2 }'
  awk '{ for (i = 2; i <= 4; i++) if ($i > most[$1, i]) most[$1, i] = $i; who[$1] } END { for (w in who) print "# " w ": at most " most[w, 2] " MiB, " most[w, 3] " open files, " most[w, 4] " threads" }' "$CASE_DIR/sizes" | sort
} | tee /dev/fd/3
