# limit: 240
# bounds no time
# The log of names rots on a disk. Where a server finds that as it starts, it cuts off what it cannot read, says so, and has it
# from the others; where a leader finds it as it reads the log for one that was away, it starts anew by itself and does the
# same. No server ever has other names than the others.
skip_without setfattr
cluster_up
log_of() { find "$DIR/data/$1/log" -name '*.log' | sort | tail -n 1; }
# rot FILE FROM TO: bits of it, here and there.
rot() { local at; for at in $(seq "$2" $((($3 - $2) / 5 + 1)) "$3"); do flip_in "$1" "$at"; done; }
size_of() { stat -c %s "$1"; }
value() { head -c 30000 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
fill() { # WORD N: so many names with 30,000 random bytes each
  local n
  need mkdir "$MNT/$1"
  for n in $(seq "$2"); do need touch "$MNT/$1/$n" && need setfattr -n user.large -v "0x$(value)" "$MNT/$1/$n"; done
  need sync -f "$MNT"
}
all() { echo 3 > /proc/sys/vm/drop_caches; getfattr -R -d -m user.large -e hex --absolute-names "$MNT" | sha256sum; }
cuts() { grep -c "is damaged, and is cut off" "$DIR/log/$1.log"; }
had_cut() { [ "$(cuts "$1")" -gt "$2" ]; }
fill few 20

# The leader that was, the other servers, the witness, and one that was stopped. Each made up for it, so that whoever leads later
# may find more.
before=$(all)
for name in $({ leader; printf '%s\n' fsd4 fsd3 fsd1 witness; } | awk '$1 != "fsd2" && !had[$1]++'); do
  had=$(cuts "$name")
  crash "$name"
  log=$(log_of "$name")
  rot "$log" $(($(size_of "$log") / 4)) $(($(size_of "$log") * 3 / 4))
  back "$name"
  check "$name, whose log has rotted while it was down, is back by itself" wait_healthy 60
  check "it says what it found" had_cut "$name" "$had"
done
had=$(cuts fsd2)
need r stop fsd2
# Where its first file begins: nothing of it can be used.
flip_in "$(find "$DIR/data/fsd2/log" -name '*.log' | sort | head -n 1)" 10
back fsd2
check "fsd2, all of whose log is lost, is back by itself" wait_healthy 60
check "it says what it found" had_cut fsd2 "$had"
same "every name is as it was" "$before" "$(all)"
need wait_healthy 60
check "verify finds nothing wrong" verify

# While a server is away the leader's log rots behind the last entry that it has, and is longer than what is kept in memory.
away=$(follower)
crash "$away"
need wait_until 20 not copy_is "$away" "in sync"
leads=$(leader) had=$(cuts "$(leader)") pid=$(pid_of "$(leader)") log=$(log_of "$(leader)")
at=$(size_of "$log")
fill many 200
need test "$(leader)" = "$leads"
within "the leader's log is longer than what it has in memory" 5000000 100000000 $(($(size_of "$log") - at))
rot "$log" $((at + 2000)) $((at + 400000))
before=$(all)
back "$away"
anew() { grep -q "damaged: starting anew" "$DIR/log/$leads.log"; }
check "$leads, which leads, finds it, and starts anew" wait_until 60 anew
check "and cuts it off" wait_until 30 had_cut "$leads" "$had"
check "all are in sync again" wait_healthy 60
same "by the same process" "$pid" "$(pid_of "$leads")"
refuse "which lives" gone "$pid"
same "every name is as it was" "$before" "$(all)"
crash "$(mirror_of "$away")"
same "also by the word of the others" "$before" "$(all)"
back "$(mirror_of "$away")"
need wait_healthy 60
check "names can be made" mkdir "$MNT/later"
need wait_healthy 60
check "verify finds nothing wrong" verify
