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
# enter LINE...: all of it at once, as what is pasted comes, or what somebody types who does not wait.
enter() {
  need wait_until 10 shown "> "
  printf '%s\r' "$@" >&8
}
has_dir() { r shell <<< ls 2> /dev/null | grep -q "$1/"; }
kept() { grep -qx -- "$1" "$history" 2> /dev/null; }
shell_of() { cat "/proc/${LOADS[$1]}/task/${LOADS[$1]}/children"; }

sit first
for n in 1 2 3 4; do check "it reaches fsd$n" wait_until 10 shown "connection established to fsd$n"; done
enter 'mkdir /typed'
check "what was typed is kept while it runs" wait_until 10 kept "mkdir /typed"
enter 'ls'
check "and was done" wait_until 10 shown "typed/"
enter 'mkdir /typed/ahead' 'create /typed/file' 'ls /typed'
check "lines that come faster than they are read are all read" wait_until 10 shown "ahead/"
need wait_until 10 kept "ls /typed"
printf 'mkdir /\xff\r' >&8
check "what is no text is said" wait_until 10 shown "is not UTF-8 and was not run"
printf 'mkdir /half-ty' >&8
need wait_until 10 shown "half-ty"
need r kill fsd2
check "a killed server is lost, though no line was typed" wait_until 10 shown "connection lost to fsd2"
need r start fsd2
check "and back" wait_until 10 shown "fsd2 is back"
printf 'ped\r' >&8
check "what was being typed then is as it was" wait_until 10 kept "mkdir /half-typed"
check "and done" wait_until 10 has_dir half-typed
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
same "the lines of both are there, each once" "mkdir /typed ls mkdir /typed/ahead create /typed/file ls /typed mkdir /half-typed where /typed" "$(grep -v '^#' "$history" | tr '\n' ' ' | sed 's/ $//')"
