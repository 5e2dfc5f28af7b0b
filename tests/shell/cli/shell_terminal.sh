# limit: 90
# The shell at a terminal: each line that was typed is kept whatever ends it, and messages come while it waits for one.
skip_without script
cluster_up
need r stop mountd
mkdir "$CASE_DIR/home"
history=$CASE_DIR/home/.raidfs_history
# sit NAME: a shell at a terminal of its own, whose keys are descriptor 8 and whose screen is a file.
sit() {
  need mkfifo "$CASE_DIR/$1.keys"
  begin "$1" env HOME="$CASE_DIR/home" TERM=xterm bash -c 'exec script -qfc "$1" "$2" < "$3"' - \
    "exec '$BIN/raidfs' shell --dir '$DIR'" "$CASE_DIR/$1.screen" "$CASE_DIR/$1.keys"
  exec 8> "$CASE_DIR/$1.keys"
  sitting=$1
}
shown() { grep -qaF -- "$1" "$CASE_DIR/$sitting.screen"; }
# enter LINE: key by key, each once the one before is on the screen: what comes faster than it is read may lie unseen until
# the next key, as the editor waits for messages, too.
enter() {
  local at before screen=$CASE_DIR/$sitting.screen
  need wait_until 10 shown "> "
  for ((at = 0; at < ${#1}; at++)); do
    before=$(stat -c %s "$screen")
    printf '%s' "${1:at:1}" >&8
    need wait_until 10 larger "$screen" "$before"
  done
  printf '\r' >&8
}
larger() { [ "$(stat -c %s "$1")" -gt "$2" ]; }
kept() { grep -qx -- "$1" "$history" 2> /dev/null; }
shell_of() { cat "/proc/${LOADS[$1]}/task/${LOADS[$1]}/children"; }

sit first
for n in 1 2 3 4; do check "it reaches fsd$n" wait_until 10 shown "connection established to fsd$n"; done
enter 'mkdir /typed'
check "what was typed is kept while it runs" wait_until 10 kept "mkdir /typed"
enter 'ls'
check "and was done" wait_until 10 shown "typed/"
need r kill fsd2
check "a killed server is lost, though no line was typed" wait_until 10 shown "connection lost to fsd2"
need r start fsd2
check "and back" wait_until 10 shown "fsd2 is back"
pid=$(shell_of first); need test -n "$pid"
need kill -TERM $pid
need wait_until 10 gone $pid
exec 8>&-
finish first
check "after SIGTERM the line is there" kept "mkdir /typed"

sit second
enter 'where /typed'
check "its line is kept, too" wait_until 10 kept "where /typed"
pid=$(shell_of second); need test -n "$pid"
need kill -KILL "${LOADS[second]}"
check "with its terminal closed it ends" wait_until 10 gone $pid
exec 8>&-
finish second
same "the lines of both are there, each once" "mkdir /typed ls where /typed" "$(grep -v '^#' "$history" | tr '\n' ' ' | sed 's/ $//')"
