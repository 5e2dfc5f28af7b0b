# limit: 180
# A server, the leader among them, is flooded: by clients that take every connection that it gives and ask nothing, ask
# without end and never read an answer, those of 4 MiB too, send frames that never end, or speak a byte at a time, and by garbage. It serves the others all the while: programs see no error and
# wait at most 1.5 s, its memory is bounded, and nothing is left of it afterwards.
skip_without prlimit
source "$LIB/watch.sh"
cluster_up
memory() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$(pid_of "$1")/status"; }
files_open() { find "/proc/$(pid_of "$1")/fd" -mindepth 1 | wc -l; }
has_many_files() { [ "$(files_open "$1")" -gt 300 ]; }
answers() { [ "$(json "/servers/$((${1#fsd} - 1))/up")" = true ]; }
has_few_files() { [ "$(files_open "$1")" -lt 250 ]; }

declare -a large=()
for pair in 1 2; do
  large[pair]=$(on_pair $pair large)
  need dd if=/dev/urandom of="${large[pair]}" bs=1M count=4 conv=fsync status=none
done

for victim in "$(follower)" "$(leader)"; do
  pid=$(pid_of "$victim") n=${victim#fsd}
  watch
  begin flood exec prlimit --nofile=8192:8192 "$BIN/probe" flood "$DIR/raidfs.toml" "$n" "${large[(n + 1) / 2]}"
  check "$victim has hundreds of connections more" wait_until 30 has_many_files "$victim"
  check "$victim is flooded: the programs go on" moves_on
  before=$(memory "$victim")
  pass_time 2000
  check "and on" moves_on
  check "who comes later is let in, in the place of one that asks nothing" wait_until 10 answers "$victim"
  within "its memory does not grow without end (MiB, $before before)" 1 400 "$(memory "$victim")"
  tell flood
  check "the flood had its way" finish flood
  for m in 0 1 2 3 4; do check "garbage to server $m under load" probe garbage "$DIR/raidfs.toml" "$m"; done
  check "nobody was put out for long" wait_healthy 60
  watched "$victim is flooded" 1500
  same "it is the same process" "$pid" "$(pid_of "$victim")"
  check "it has let all of that go" wait_until 60 has_few_files "$victim"
done
refuse "no server panicked" grep -l "panicked" "$DIR"/log/*.log
check "verify finds nothing wrong" verify
