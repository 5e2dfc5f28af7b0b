# A cluster of machines, for cases that cut some of them off from others: each program has a network namespace of its own,
# and a bridge joins them. All see the same files and mounts. What a case asks by `raidfs` it asks from one more machine,
# the operator's, which is cut off from nobody. Namespaces live as long as the process that holds them, which has a pid
# file: nothing has a name outside, and `clean_below` ends them.

MACHINES="fsd1 fsd2 fsd3 fsd4 witness mountd operator"
declare -A HOLDER=()

number_of() { case $1 in fsd*) echo "${1#fsd}" ;; witness) echo 5 ;; mountd) echo 6 ;; operator) echo 7 ;; esac; }
ip_of() { echo "10.99.0.$(number_of "$1")"; }
mac_of() { echo "02:00:00:00:00:0$(number_of "$1")"; }
# Nobody's: what is sent there vanishes, as in a network that is cut.
NOWHERE=02:00:00:00:00:ff
SERVICE_PORT=7100

# inside MACHINE COMMAND...: runs it there. Not with `ip netns exec`, which would hide mounts from the others.
inside() { local machine=$1; shift; nsenter --net="/proc/${HOLDER[$machine]}/ns/net" -- "$@"; }
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

# network_up: the machines, and the network that joins them. Who has which address is set once and for all, so that nobody
# needs to ask for it, and a cut is one line in one table.
network_up() {
  local name
  need mkdir -p "$CASE_DIR/machines"
  machine operator
  need inside operator ip link add bridge type bridge
  need inside operator ip link set bridge address "$(mac_of operator)" up
  need inside operator ip address add "$(ip_of operator)/24" dev bridge
  for name in $MACHINES; do
    [ "$name" = operator ] && continue
    machine "$name"
    need inside operator ip link add "to-$name" type veth peer name net0 netns "${HOLDER[$name]}"
    need inside operator ip link set "to-$name" master bridge up
    need inside "$name" ip link set net0 address "$(mac_of "$name")" up
    need inside "$name" ip address add "$(ip_of "$name")/24" dev net0
  done
  heal_all
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
  # shellcheck disable=SC2086
  inside "$1" "$BIN/fsd" --config "$DIR/raidfs.toml" $who --data "$DIR/data/$1" > "$DIR/log/$1.log" 2>&1 3>&- &
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

# cut_one_way A B: what A sends to B vanishes.
cut_one_way() { neighbour "$1" "$2" "$NOWHERE"; }
cut() { cut_one_way "$1" "$2"; cut_one_way "$2" "$1"; }
heal() { neighbour "$1" "$2" "$(mac_of "$2")"; neighbour "$2" "$1" "$(mac_of "$1")"; }
neighbour() { # A B MAC: where A sends what is for B
  local device=net0; [ "$1" = operator ] && device=bridge
  need inside "$1" ip neighbour replace "$(ip_of "$2")" lladdr "$3" dev "$device" nud permanent
}
# The others of the cluster; the operator is none of them.
others() { local name; for name in $MACHINES; do case $name in "$1" | operator) ;; *) echo "$name" ;; esac; done; }
cut_off() { local other; for other in $(others "$1"); do cut "$1" "$other"; done; }
heal_all() {
  local a b
  for a in $MACHINES; do for b in $MACHINES; do [ "$a" = "$b" ] || neighbour "$a" "$b" "$(mac_of "$b")"; done; done
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
