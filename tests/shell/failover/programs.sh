# limit: 600
# only when asked
# git, rsync, sqlite3 with a write-ahead log and cargo go on at the same time while servers die and return: the leader,
# one of each pair, and the witness.
skip_without git
skip_without rsync
skip_without sqlite3
need probe tree "$CASE_DIR/tree" 800 7
cluster_up

git_load() {
  trap '' TERM
  export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_GLOBAL=/dev/null
  local n=0
  git init -q -b main "$MNT/work" && cd "$MNT/work" || return 1
  until told git; do
    n=$((n + 1))
    for i in $(seq 1 40); do echo "$n $i" > "file$i"; done
    git add -A && git commit -qm "$n" && git gc -q && git clone -q . "../clone$n" && git -C "../clone$n" fsck --strict || return 1
    [ -z "$(git status --porcelain)" ] && diff -r --exclude .git . "../clone$n" || return 1
    echo "$n"
  done
}
rsync_load() {
  trap '' TERM
  local n=0
  until told rsync; do
    n=$((n + 1))
    rsync -a "$CASE_DIR/tree/" "$MNT/copy$n/" && diff -r "$CASE_DIR/tree" "$MNT/copy$n" || return 1
    echo "$n"
  done
}
sqlite_load() {
  trap '' TERM
  local db=$MNT/db n=0
  sqlite3 "$db" 'pragma journal_mode=wal; create table t(n integer primary key);' >&2 || return 1
  until told sqlite; do
    n=$((n + 1))
    sqlite3 "$db" "insert into t values($n);" || return 1
    echo "$n"
  done
}
cargo_load() {
  trap '' TERM
  export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_TERM_COLOR=never
  local n=0
  mkdir -p "$MNT/p/src" && cd "$MNT/p" || return 1
  printf '[package]\nname = "p"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' > Cargo.toml
  until told cargo; do
    n=$((n + 1))
    echo "fn main() { println!(\"$n\"); }" > src/main.rs
    cargo build -q --offline && [ "$(./target/debug/p)" = "$n" ] || return 1
    echo "$n"
  done
}
loads=(git rsync sqlite)
if command -v cargo > /dev/null; then loads+=(cargo); fi
for l in "${loads[@]}"; do begin "$l" "${l}_load"; done
done_of() { wc -l < "$(output_of "$1")"; }
all_beyond() { # MARK...: every load has finished a round since, or has ended
  local l
  for l in "${loads[@]}"; do [ "$(done_of "$l")" -gt "${marks[$l]}" ] || ! running "$l" || return 1; done
}
declare -A marks
mark() { local l; for l in "${loads[@]}"; do marks[$l]=$(done_of "$l"); done; }
for l in "${loads[@]}"; do marks[$l]=0; done
need wait_until 120 all_beyond
for victim in leader "fsd1 fsd3" witness "fsd2 fsd4"; do
  [ "$victim" = leader ] && who=$(leader) || who=$victim
  # shellcheck disable=SC2086
  crash $who
  mark
  check "all go on without $who" wait_until 120 all_beyond
  # shellcheck disable=SC2086
  back $who
  check "$who returns" wait_healthy 60
done
for l in "${loads[@]}"; do tell "$l"; done
for l in "${loads[@]}"; do
  check "$l has noticed nothing, $(done_of "$l") times" finish "$l"
done
same "the database is sound" ok "$(sqlite3 "$MNT/db" 'pragma integrity_check;')"
last=$(tail -n 1 "$(output_of sqlite)")
same "and has every row that was acknowledged" "$last|$last" "$(sqlite3 "$MNT/db" 'select count(*), max(n) from t;')"
check "verify finds nothing wrong" verify
