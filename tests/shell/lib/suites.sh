# The public suites: how each is run on a directory, and what must come of it.

SUITES=$(dirname "$LIB")/suites

# within_minutes MINUTES: whether fewer than these have passed since the case began.
within_minutes() { [ $SECONDS -lt $(($1 * 60)) ]; }

# quiet: without a fault there is nothing to warn of, whatever programs do to files.
quiet() { ! grep -E ' (WARN|ERROR) ' "$DIR/log/mountd.log"; }

# --- pjdfstest

# run_pjdfstest DIR: all of it. Its results, one `name result` a line, go to pjdfstest.results, its words to pjdfstest.out.
run_pjdfstest() {
  local dir=$1 remount pattern
  installed_sbin > /dev/null
  mkdir -p "$dir" "$CASE_DIR/second"
  : > "$CASE_DIR/pjdfstest.out"
  for remount in false true; do
    # The tests that mount the file system read-only have a process of their own: the others leave files open in theirs,
    # and then no file system lets itself be mounted so.
    [ $remount = true ] && pattern=erofs || pattern=
    cat > "$CASE_DIR/pjdfstest.toml" <<END
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
allow_remount = $remount
[dummy_auth]
# Two users that every Debian has, each with a group of its own.
entries = [["daemon", "daemon"], ["bin", "bin"]]
END
    # In a namespace of its own. There /sbin has what mount(8) needs to mount it read-only. And for the others the directory
    # is called /mnt, since names of sockets are short.
    [ $remount = true ] && set -- "$CASE_DIR/sbin" "$(readlink -f /sbin)" "$dir" || set -- "$dir" /mnt /mnt
    # shellcheck disable=SC2016,SC2086
    set -- unshare --mount sh -c 'mount --bind "$1" "$2" && shift 2 && exec pjdfstest "$@"' - "$1" "$2" \
      -c "$CASE_DIR/pjdfstest.toml" -s "$CASE_DIR/second" -p "$3" $pattern
    NO_COLOR=1 "$@" >> "$CASE_DIR/pjdfstest.out" 2>&1
  done
  sed 's/\x1b\[[0-9;]*m//g' "$CASE_DIR/pjdfstest.out" |
    awk '/^[a-z0-9_:]+ +(ok|FAILED|skipped)$/ { result[$1] = $2 } END { for (name in result) print name, result[name] }' |
    sort > "$CASE_DIR/pjdfstest.results"
}
pjdfstests() { awk -v r="$1" '$2 == r { print $1 }' "$CASE_DIR/pjdfstest.results"; }

# pjdfstest_passes DIR: no failure, and skipped is exactly what suites/pjdfstest.skipped gives a reason for.
pjdfstest_passes() {
  run_pjdfstest "$1"
  same "pjdfstest: none of $(wc -l < "$CASE_DIR/pjdfstest.results") tests fails" "" "$(pjdfstests FAILED)" ||
    grep -A 2 ' FAILED$' "$CASE_DIR/pjdfstest.out"
  within "most of them were run" 390 1000 "$(pjdfstests ok | wc -l)"
  same "those that are skipped are those with a reason" "$(sed -n 's/^\([a-z0-9_:]*\): .*/\1/p' "$SUITES/pjdfstest.skipped" | sort)" \
    "$(pjdfstests skipped)"
}

# --- fsx

# fsx_passes FILE SET OPERATIONS SEED: a set of options is a file in suites/fsx.
fsx_passes() {
  local log=$CASE_DIR/fsx-$2.log
  mkdir -p "$CASE_DIR/fsx"
  fsx -q -f "$SUITES/fsx/$2.toml" -N "$3" -S "$4" -P "$CASE_DIR/fsx" "$1" > "$log" 2>&1 && grep -q 'A-OK' "$log" && return
  tail -n 30 "$log"
  return 1
}
fsx_sets() { local f; for f in "$SUITES"/fsx/*.toml; do f=${f##*/}; echo "${f%.toml}"; done; }

# --- racing processes

# race_passes DIR PROCESSES STEPS SEED: no step fails with what it cannot mean, and what is left is consistent: now, when
# nothing of it is cached any more, and for those who take it away.
race_passes() {
  local dir=$1 at
  check "$2 processes race through $3 steps each, seed $4" probe race "$dir" "$2" "$3" "$4"
  left_of_race "$dir"
}
left_of_race() {
  local dir=$1
  check "what they leave is consistent" probe consistent "$dir"
  check "and du can add it up" du -s "$dir"
  listing_of_race "$dir" > "$CASE_DIR/before"
  need r stop mountd
  need r start mountd
  listing_of_race "$dir" > "$CASE_DIR/after"
  check "it is the same for a mount that has not seen it happen" diff "$CASE_DIR/before" "$CASE_DIR/after"
  check "and consistent" probe consistent "$dir"
  check "all of it is taken away" rm -r "$dir"
}
# A directory's own size and time are not compared: reading it is no change.
listing_of_race() { (cd "$1" && find . -printf '%p %y %i %m %n %U %G %s %T@ %l\n' | sort && sums .); }

# --- stress-ng

# stress_passes DIR SECONDS STRESSOR...: with its own checks of what the calls did.
stress_passes() {
  local dir=$1 seconds=$2 stressor; shift 2
  mkdir -p "$dir"
  for stressor; do
    check "stress-ng: $stressor" stressor_passes "$dir" "$seconds" "$stressor"
  done
}
stressor_passes() { # DIR SECONDS STRESSOR: it was run, and nothing failed
  local log=$CASE_DIR/stress-$3.log
  stress-ng "--$3" 2 --timeout "$2" --temp-path "$1" --verify > "$log" 2>&1 &&
    grep -q 'successful run completed' "$log" && ! grep -qE 'fail:|error:|skipping' "$log" && return
  cat "$log"
  return 1
}
