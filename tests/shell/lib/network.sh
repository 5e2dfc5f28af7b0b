# A cluster of machines, for cases that cut some of them off from others: each program has a network namespace of its own,
# joined to that of the operator, whose kernel passes packets on, or does not. All see the same files and mounts. What a
# case asks by `raidfs` it asks as the operator, who is cut off from nobody. Namespaces live as long as the process that
# holds them, which has a pid file: nothing has a name outside, and `clean_below` ends them.

MACHINES="fsd1 fsd2 fsd3 fsd4 witness mountd"
declare -A HOLDER=()

number_of() { case $1 in fsd*) echo "${1#fsd}" ;; witness) echo 5 ;; mountd) echo 6 ;; operator) echo 7 ;; esac; }
ip_of() { echo "10.99.0.$(number_of "$1")"; }
SERVICE_PORT=7100

# inside MACHINE COMMAND...: runs it there. Not with `ip netns exec`, which would hide mounts from the others.
inside() { local machine=$1; shift; nsenter --net="$(space_of "$machine")" -- "$@"; }
space_of() { echo "/proc/${HOLDER[$1]}/ns/net"; }
r() { local command=$1; shift; inside operator "$BIN/raidfs" "$command" --dir "$DIR" "$@"; }
back() { local name; for name in "$@"; do need inside "$name" "$BIN/raidfs" start --dir "$DIR" "$name"; done; }

apart() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
machine() { # NAME
  : > "$CASE_DIR/machines/$1"
  unshare --net tail -f "$CASE_DIR/machines/$1" > /dev/null 2>&1 3>&- &
  HOLDER[$1]=$!
  echo $! > "$CASE_DIR/machines/$1.pid"
  need wait_until 10 apart $!
  need inside "$1" ip link set lo up
}

network_up() {
  local name
  need mkdir -p "$CASE_DIR/machines"
  machine operator
  need inside operator ip address add "$(ip_of operator)/32" dev lo
  need inside operator sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
  need inside operator ip rule add preference 2000 lookup main
  for name in $MACHINES; do
    machine "$name"
    need inside operator ip link add "to-$name" type veth peer name net0 netns "${HOLDER[$name]}"
    need inside operator ip link set "to-$name" up
    need inside operator ip route add "$(ip_of "$name")" dev "to-$name"
    need inside "$name" ip address add "$(ip_of "$name")/32" dev net0
    need inside "$name" ip link set net0 up
    need inside "$name" ip route add 10.99.0.0/24 via "$(ip_of operator)" dev net0 onlink
  done
}

# config [LINE...]: as of cluster.sh, with the machines' addresses.
config() {
  local name; address() { echo "\"$(ip_of "$1"):$SERVICE_PORT\""; }
  mkdir -p "$DIR"
  {
    echo "cluster = \"case\""
    echo "witness = $(address witness)"
    printf '%s\n' "$@"
    printf '[[pair]]\nservers = [%s, %s]\n' "$(address fsd1)" "$(address fsd2)" "$(address fsd3)" "$(address fsd4)"
  } > "$DIR/raidfs.toml"
}

# serve NAME: starts a server for the first time, and does not wait until it answers: a new cluster begins with all of them.
serve() {
  local who="--witness"; [ "$1" = witness ] || who="--id $(number_of "$1")"
  # By no function, so that $! is the server.
  # shellcheck disable=SC2086
  nsenter --net="$(space_of "$1")" -- "$BIN/fsd" --config "$DIR/raidfs.toml" $who --data "$DIR/data/$1" > "$DIR/log/$1.log" 2>&1 3>&- &
  echo $! > "$DIR/run/$1.pid"
}

# cluster_up [LINE...]: a cluster with these lines in its configuration on machines of its own, mounted.
cluster_up() {
  local name
  network_up
  config "$@"
  need mkdir -p "$DIR/run" "$DIR/log" "$DIR/data" "$MNT"
  for name in fsd1 fsd2 fsd3 fsd4 witness; do serve "$name"; done
  echo "$MNT" > "$DIR/mountpoint"
  back mountd
  need wait_healthy 30
}

# A cut of A B: what A sends to B vanishes, and nobody is told. Cuts that are asked for together begin at one moment.
cut_one_way() { rules add "$@"; }
cut_between() { # A B [A B...]: in both directions
  local both=()
  while [ $# -gt 0 ]; do both+=("$1" "$2" "$2" "$1"); shift 2; done
  cut_one_way "${both[@]}"
}
rules() { # add|del A B [A B...]
  local verb=$1; shift
  # Kernels take their time for each rule: all are passed over until the last one is there.
  {
    echo "rule add preference 1000 goto 2000"
    while [ $# -gt 0 ]; do
      echo "rule $verb preference 10$(number_of "$1")$(number_of "$2") from $(ip_of "$1") to $(ip_of "$2") ${ONLY:-} blackhole"
      shift 2
    done
    echo "rule del preference 1000"
  } | need inside operator ip -batch -
}
# The others of the cluster.
others() { local name; for name in $MACHINES; do [ "$name" = "$1" ] || echo "$name"; done; }
with_each() { local other; for other in $(others "$1"); do echo "$1 $other"; done; }
each_with() { local other; for other in $(others "$1"); do echo "$other $1"; done; }
# shellcheck disable=SC2046
cut_off() { cut_between $(with_each "$1"); }
# shut SERVER: nobody gets anything through over a connection to it; those that it has made itself live.
# shellcheck disable=SC2046
shut() { ONLY="ipproto tcp dport $SERVICE_PORT" rules add $(each_with "$1"); }
# split "ONE SIDE" "OTHER SIDE"
split() {
  local a b all=()
  for a in $1; do for b in $2; do all+=("$a" "$b"); done; done
  cut_between "${all[@]}"
}
heal_all() {
  local cuts
  # Not while rules change: such a list may have one twice.
  cuts=$(inside operator ip rule show | sed -n 's/^\(10[1-9][0-9]*\):.*/rule del preference \1/p')
  printf '%s\n' "rule add preference 1000 goto 2000" "$cuts" "rule del preference 1000" | need inside operator ip -batch -
}

# reaches A B: whether A can connect to the server B.
reaches() {
  # shellcheck disable=SC2016
  inside "$1" timeout 0.5 bash -c 'exec 4<> "/dev/tcp/$1/$2"' - "$(ip_of "$2")" "$SERVICE_PORT" 2> /dev/null
}

# seen_from MACHINE PATH: what a second client there reads, which asks the servers itself; nothing if it cannot.
seen_from() { inside "$1" timeout 5 "$BIN/raidfs" shell --config "$DIR/raidfs.toml" --read-only <<< "read $2" 2>&1; }

# The newest term: each election begins one.
term() {
  local n newest=0 term
  for n in 0 1 2 3 4; do term=$(json "/servers/$n/term"); [ "${term:-0}" -gt "$newest" ] && newest=$term; done
  echo "$newest"
}
