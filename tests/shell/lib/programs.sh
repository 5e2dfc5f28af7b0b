# Programs of several kinds that check what they do, a piece at a time, for going on beside whatever else happens.

PROGRAM_KINDS="race fsx direct tree sqlite git instep"

# some_program DIR SEED N: the N-th piece, in a directory of its own that is gone afterwards; prints which it was. The seed
# decides which.
some_program() {
  local dir=$1/$3 seed=$(($2 + $3)) kinds kind
  read -ra kinds <<< "$PROGRAM_KINDS"
  RANDOM=$seed
  kind=${kinds[RANDOM % ${#kinds[@]}]}
  mkdir -p "$dir" || return 1
  "program_$kind" "$dir" "$seed" >&2 || { echo "$kind failed, seed $seed" >&2; return 1; }
  rm -r "$dir" || return 1
  echo "$kind"
}
program_race() { "$BIN/probe" race "$1/r" 3 150 "$2" && "$BIN/probe" consistent "$1/r"; }
program_fsx() {
  local sets; read -ra sets <<< "$(fsx_sets | tr '\n' ' ')"
  fsx_passes "$1/f" "${sets[RANDOM % ${#sets[@]}]}" 100 "$2"
}
program_direct() { "$BIN/probe" direct "$1/d" 100 "$2"; }
program_tree() {
  "$BIN/probe" tree "$1/a" 60 "$2" && cp -a "$1/a" "$1/b" && same_trees "$1/a" "$1/b" &&
    mkdir "$1/c" && tar -C "$1/a" -cf - . | tar -C "$1/c" -xf - && same_trees "$1/b" "$1/c"
}
program_sqlite() {
  local n
  for n in $(seq 10); do
    echo "CREATE TABLE IF NOT EXISTS t(a, b); BEGIN; INSERT INTO t SELECT value, hex(randomblob(200)) FROM generate_series(1, 50); COMMIT;"
  done | sqlite3 -bail "$1/db" && [ "$(sqlite3 "$1/db" 'PRAGMA integrity_check; SELECT count(*) FROM t;')" = $'ok\n500' ]
}
program_git() {
  "$BIN/probe" tree "$1/tree" 40 "$2" && (
    cd "$1/tree" && git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm one &&
      git gc -q && git fsck --strict && [ -z "$(git status --porcelain)" ]
  )
}
# LOCAL is a local ext4.
program_instep() {
  local beside=$LOCAL/$2
  mkdir -p "$1/m" "$beside" && "$BIN/probe" instep --mount "$1/m" --local "$beside" --ops 60 --seed "$2" && rm -r "$beside"
}
