# limit: 30
# Every command has a help with what it does, and wrong usage is refused.
for command in up down start stop kill status where verify scrub replace lost export shell; do
  check "$command --help" "$BIN/raidfs" $command --help
done
for program in fsd mountd; do says "$program --help says how more is logged" RAIDFS_LOG "$BIN/$program" --help; done
for program in fsd mountd raidfs; do
  check "$program --version" "$BIN/$program" --version
  check "$program --help" "$BIN/$program" --help
  says "has examples" EXAMPLES "$BIN/$program" --help
  fails_with "$program refuses unknown options" "unexpected argument|unrecognized" "$BIN/$program" --nonsense
done
fails_with "an odd number of servers" "even number" "$BIN/raidfs" up --dir "$DIR" --servers 3
fails_with "a port that is none" "invalid value" "$BIN/raidfs" up --dir "$DIR" --base-port 99999
refuse "nothing was made" test -e "$DIR"
