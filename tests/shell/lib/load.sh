# Loads: commands in the background that go on while faults happen.

declare -A LOADS=()

# begin NAME COMMAND...
begin() {
  local name=$1; shift
  # There may have been one of this name before, whose lines are not this one's.
  rm -f "$CASE_DIR/$name.told"
  : > "$(output_of "$name")"
  "$@" > "$(output_of "$name")" 2> "$CASE_DIR/$name.err" &
  LOADS[$name]=$!
}

output_of() { echo "$CASE_DIR/$1.out"; }
running() { kill -0 "${LOADS[$1]}" 2> /dev/null; }

# tell NAME: asks a load that goes on until told to end. Probes end at SIGTERM, so a load runs them by `exec`; loops of
# the shell ignore it and look at `told NAME`.
tell() { : > "$CASE_DIR/$1.told"; kill -TERM "${LOADS[$1]}" 2> /dev/null; }
told() { [ -e "$CASE_DIR/$1.told" ]; }

# in_rounds NAME COMMAND...: a load of finite pieces that goes on until it is told to end: the command with 1, 2, 3 ...
# as its last word, and the number printed once it is done. So a fault hits the middle of it on any machine, however
# fast. The first failure ends it.
in_rounds() {
  local name=$1 n=0; shift
  trap '' TERM
  until told "$name"; do
    n=$((n + 1))
    "$@" "$n" || return 1
    echo "$n"
  done
}
# waited NAME: the longest wait, in milliseconds, that a finished `probe stall` printed.
waited() { sed -n 's/^stall_ms=\([0-9]*\).*/\1/p' "$(output_of "$1")"; }
# longest NAME...: of several.
longest() { local name; for name in "$@"; do waited "$name"; done | sort -n | tail -n 1; }
rounds_of() { wc -l < "$(output_of "$1")"; }

# finish NAME: waits for it; its exit code.
finish() {
  local code
  wait "${LOADS[$1]}"; code=$?
  unset "LOADS[$1]"
  echo "load $1 ended with code $code"
  cat "$CASE_DIR/$1.err"
  return $code
}

end_loads() {
  local name
  for name in "${!LOADS[@]}"; do kill -KILL "${LOADS[$name]}"; done 2> /dev/null
}

# sums DIR: the checksums of all files below, by path.
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0r sha256sum); }

# same_trees A B: both have the same files with the same contents, modes and links.
same_trees() { diff <(listing "$1") <(listing "$2") && diff <(sums "$1") <(sums "$2"); }
listing() { (cd "$1" && find . ! -type d -printf '%p %y %m %s %l\n' -o -printf '%p %y %m\n' | sort); }

# attributes DIR: what `listing` does not say of each file: owner, time, how many names, extended attributes.
attributes() {
  (cd "$1" && find . -printf '%p %U:%G %n %T@\n' | sort && find . -print0 | sort -z | xargs -0r getfattr -h -d -m '^(user|trusted|security)\.' -e hex 2> /dev/null)
}
# acls DIR: the access control lists of each, by number.
acls() { (cd "$1" && find . ! -type l -print0 | sort -z | xargs -0r getfacl -n -p); }
