# What a case says: one line for each check, on descriptor 3. Everything else that is printed is shown on failure only.

ok() { echo "ok - $CASE: $1" >&3; }
not_ok() { echo "not ok - $CASE: $1" >&3; echo "FAILED: $1"; }

# check WHAT COMMAND...: the command succeeds.
check() {
  local what=$1; shift
  if "$@"; then ok "$what"; else not_ok "$what"; echo "  (exit code $? of: $*)"; return 1; fi
}

# refuse WHAT COMMAND...: the command fails.
refuse() {
  local what=$1; shift
  if "$@"; then not_ok "$what"; echo "  (it succeeded: $*)"; return 1; else ok "$what"; fi
}

# fails_with WHAT PATTERN COMMAND...: the command fails, and says something that matches.
fails_with() {
  local what=$1 pattern=$2 text code; shift 2
  text=$("$@" 2>&1); code=$?
  if [ $code -ne 0 ] && grep -qE -- "$pattern" <<< "$text"; then ok "$what"; return; fi
  not_ok "$what"; echo "  (exit code $code, wanted to hear /$pattern/, heard: $text)"; return 1
}

# says WHAT PATTERN COMMAND...: what the command prints matches, whatever its exit code.
says() {
  local what=$1 pattern=$2 text; shift 2
  text=$("$@" 2>&1)
  if grep -qE -- "$pattern" <<< "$text"; then ok "$what"; return; fi
  not_ok "$what"; echo "  (wanted to hear /$pattern/, heard: $text)"; return 1
}

# same WHAT EXPECTED GOT. What a failed check got stands in its line, too, as far as it fits: all that some reports keep.
same() {
  if [ "$2" = "$3" ]; then ok "$1"; return; fi
  local got=${3//$'\n'/ | }
  not_ok "$1 (got: ${got:0:300})"; echo "  (expected: $2)"; echo "  (got:      $3)"; return 1
}

# within WHAT LOW HIGH NUMBER
within() {
  if [ -n "$4" ] && [ "$4" -ge "$2" ] && [ "$4" -le "$3" ]; then ok "$1"; return; fi
  not_ok "$1 (wanted $2 to $3, got ${4:-nothing})"; return 1
}

# need COMMAND...: a step without which the case makes no sense.
need() {
  "$@" && return
  not_ok "the step before it works: $*"
  exit 1
}

# skip_without PROGRAM: the case needs a program that this machine may lack. `make setup` installs all of them, so a
# skipped case is said aloud, not passed over.
skip_without() { command -v "$1" > /dev/null || skip "$1"; }
skip() {
  echo "ok - $CASE # SKIP $1 is not installed (make setup)" >&3
  exit 0
}
