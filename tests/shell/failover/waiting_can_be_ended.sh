# limit: 240
# bounds no time
# A program that waits for servers that do not come is ended by a signal long before io_timeout; one that it catches is for
# later.
config 'io_timeout = "100s"'
cluster_up
for i in $(seq 1 8); do head -c 100000 /dev/urandom > "$MNT/f$i"; done
sync "$MNT"/f*
all_on() { for f in "$MNT"/f*; do [ "$(holders_of "$f")" = "$1 " ] && echo "$f"; done; }
lost=($(all_on "fsd3 fsd4"))
need test "${#lost[@]}" -ge 2
for f in "$MNT"/f*; do dd if="$f" iflag=nocache count=0 status=none; done; echo 3 > /proc/sys/vm/drop_caches
crash fsd3 fsd4
# It waits in the kernel for the answer to a request, or for a page that one is to bring.
asks() { grep -qE "request_wait_answer|folio_wait" "/proc/$1/stack" 2> /dev/null; }
ends_by() { # SIGNAL WHAT COMMAND...
  local signal=$1 what=$2 pid; shift 2
  begin waiter "$@"
  pid=${LOADS[waiter]}
  need wait_until 20 asks "$pid"
  need kill "-$signal" "$pid"
  check "SIG$signal ends $what" wait_until 10 gone "$pid"
}
for signal in TERM KILL INT HUP; do
  # A shell has its background ignore SIGINT: `env` undoes that.
  ends_by $signal "a read" env --default-signal=INT,QUIT cat "${lost[0]}"
done
for signal in TERM KILL; do
  ends_by $signal "an fsync" dd if=/dev/zero of="${lost[1]}" bs=4096 count=1 conv=notrunc,fsync status=none
done
# More than is kept for servers that do not come.
for signal in TERM KILL; do
  ends_by $signal "a write" dd if=/dev/zero of="${lost[1]}" bs=1M count=200 conv=notrunc status=none
done
# What changes something is ended where nothing is half done.
dsync() { exec dd if=/dev/zero of="$1" bs=4096 count=1 conv=notrunc oflag=dsync status=none; }
onto() { exec mv -f "$1" "$MNT/onto"; }
echo old > "$MNT/onto"
ends_by KILL "a write with O_DSYNC" dsync "${lost[1]}"
ends_by KILL "a rename of what is not stored over a file" onto "${lost[1]}"
check "which did not happen" test -e "${lost[1]}"
same "and the other is what it was" old "$(cat "$MNT/onto")"
ends_by KILL "a fallocate" fallocate -l 200000 "${lost[1]}"
ends_by KILL "a truncate" truncate -s 50 "${lost[1]}"
# Who catches a signal is not interrupted by it, as on a local disk.
# shellcheck disable=SC2016
begin waiter perl -e '$SIG{TERM} = sub { $caught = 1 }; open(F, "<", $ARGV[0]) || die; $n = sysread(F, $b, 4096); print defined $n ? "read $n" : "error: $!", ", caught $caught\n"' "${lost[0]}"
has_opened() { find "/proc/$1/fd" -lname "$2" | grep -q .; }
need wait_until 20 has_opened "${LOADS[waiter]}" "${lost[0]}"
need kill -TERM "${LOADS[waiter]}"
pass_time 2500
refuse "a signal that is caught ends nothing" gone "${LOADS[waiter]}"
back fsd3 fsd4
check "who caught it" finish waiter
same "reads on, as on a local disk" "read 4096, caught 1" "$(cat "$(output_of waiter)")"
check "they return" wait_healthy 60
check "verify finds nothing wrong" verify
