# A cluster of the case's own: DIR is its directory, MNT its mount point.

DIR=$CASE_DIR/c
MNT=$CASE_DIR/mnt

# r COMMAND...: a command of raidfs on the case's cluster.
r() { local command=$1; shift; "$BIN/raidfs" "$command" --dir "$DIR" "$@"; }
probe() { "$BIN/probe" "$@"; }

# optimised: whether the programs are a release build, of which times are promised.
optimised() { [ "${BIN##*/}" = release ]; }

# any_seed: one of the clock's for the long form of a suite. What gates a change draws the same each time: the change is judged,
# not the day.
any_seed() { if [ "$LONG" = 1 ]; then date +%s; else echo 20261127; fi; }

# cluster_up [OPTION...]: makes and mounts it, or the case is over.
cluster_up() {
  need "$BIN/raidfs" up --dir "$DIR" --mount "$MNT" --base-port "$PORT" "$@"
  need r status --wait-healthy 30
}

# config [LINE...]: writes a configuration of four servers with these lines in it, for `raidfs up` to find.
config() {
  mkdir -p "$DIR"
  {
    echo "cluster = \"${CLUSTER:-case}\""
    echo "witness = \"127.0.0.1:$PORT\""
    printf '%s\n' "$@"
    echo "[[pair]]"
    echo "servers = [\"127.0.0.1:$((PORT + 1))\", \"127.0.0.1:$((PORT + 2))\"]"
    echo "[[pair]]"
    echo "servers = [\"127.0.0.1:$((PORT + 3))\", \"127.0.0.1:$((PORT + 4))\"]"
  } > "$DIR/raidfs.toml"
}

# json POINTER: a value of `raidfs status --json`, as RFC 6901 points to it; nothing if it is not there.
json() { r status --json 2> /dev/null | probe json "$1"; }

leader() { json /leader; }
is_leader() { [ "$(leader)" = "$1" ]; }
has_leader() { [ -n "$(leader)" ]; }
healthy() { [ "$(json /verdict)" = healthy ]; }
degraded() { [ "$(json /verdict)" = degraded ]; }
wait_healthy() { r status --wait-healthy "${1:-30}"; }

# copy_of fsd1: in sync, stale or syncing.
copy_of() { json "/servers/$((${1#fsd} - 1))/copy"; }
copy_is() { [ "$(copy_of "$1")" = "$2" ]; }
put_out() { copy_is "$1" stale; }

# kept: the bytes of chunks that the four servers have, together.
kept() { local n sum=0; for n in 0 1 2 3; do sum=$((sum + $(json "/servers/$n/chunk_bytes"))); done; echo "$sum"; }

pid_of() { cat "$DIR/run/$1.pid"; }
# most_mib fsd1: the memory that it had resident at most, in MiB.
most_mib() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$(pid_of "$1")/status"; }
mirror_of() { local n=${1#fsd}; echo "fsd$((n % 2 ? n + 1 : n - 1))"; }
# A server that is not the leader.
follower() { case $(leader) in fsd3) echo fsd4 ;; *) echo fsd3 ;; esac; }
mounted() { grep -qF " $MNT " /proc/self/mountinfo; }

# Which servers hold a file, by the mount's word: `fsd1 fsd2`.
holders_of() { "$BIN/raidfs" where "$1" | grep -oE 'fsd[0-9]+' | sort -u | tr '\n' ' '; }

# on_pair PAIR NAME: a file on the mount that this pair (1 or 2) holds, in a directory of its own; prints its path.
on_pair() {
  local n=0 path
  while [ $n -lt 100 ]; do
    n=$((n + 1)) path=$MNT/$2-$1-$n/$2
    mkdir "${path%/*}" && : > "$path" || return 1
    case "$1 $(holders_of "$path")" in "1 "*fsd1* | "2 "*fsd3*) echo "$path"; return ;; esac
    rm -r "${path%/*}"
  done
  return 1
}

verify() { r verify; }
