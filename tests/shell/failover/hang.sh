# limit: 240
# A server hangs (SIGSTOP), each of the four and the leader: reads go on within 0.1 s from its mirror, and a small program
# that writes, or asks for names, waits 1.5 s at most. When it goes on, nothing is read as it was when it hung.
source "$LIB/watch.sh"
cluster_up
for pair in 1 2; do
  READ[pair]=$(on_pair $pair read)
  need dd if=/dev/urandom of="${READ[pair]}" bs=4096 count=1 conv=notrunc,fsync status=none
done
need dd if=/dev/urandom of="$CASE_DIR/read" bs=4096 count=1 status=none

# What is changed while a server hangs: a file on each pair, and a name. Past the kernel's cache the mount asks the servers; a second
# client knows nothing of before.
for pair in 1 2; do SEEN[pair]=$(on_pair $pair seen); done
change() { # WORD
  local pair
  for pair in 1 2; do echo "$1" > "${SEEN[pair]}"; need sync "${SEEN[pair]}"; done
  need mkdir "$MNT/$1"
}
nothing_old() { # WORD N
  local pair said
  for pair in 1 2; do
    [ "$(dd if="${SEEN[pair]}" iflag=direct bs=4096 status=none)" = "$1" ] || { echo "the mount reads what was before" >&2; return 1; }
  done
  said=$(r shell --read-only <<< "ls /
read ${SEEN[1]#"$MNT"}
read ${SEEN[2]#"$MNT"}" 2> /dev/null)
  [ "$(grep -c "^$1\$" <<< "$said")" = 2 ] && grep -q "$1/" <<< "$said" || { echo "a second client reads: $said" >&2; return 1; }
}
for victim in fsd1 fsd2 fsd3 fsd4 leader; do
  [ "$victim" = leader ] && who=$(leader) || who=$victim
  watch
  for pair in 1 2; do begin reads$pair exec "$BIN/probe" reads "${READ[pair]}"; done
  begin plain_reads exec "$BIN/probe" reads "$CASE_DIR/read"
  need moves_on 20
  hang "$who"
  need wait_until 20 degraded
  check "$victim ($who) hangs, and another serves for it" wait_until 2 has_leader
  check "the programs go on" moves_on
  for name in reads1 reads2 plain_reads; do tell $name; done
  for name in reads1 reads2; do check "$victim hangs: no read fails" finish $name; done
  need finish plain_reads
  within "$victim hangs: no read waits for over 100 ms ($(waited reads1) and $(waited reads2) ms)" 0 \
    $((100 + $(waited plain_reads))) "$(longest reads1 reads2)"
  change "after-$victim"
  begin nothing_old in_rounds nothing_old nothing_old "after-$victim"
  need wait_until 20 lines_at_least "$(output_of nothing_old)" 1
  resume "$who"
  had=$(rounds_of nothing_old)
  check "it goes on and is brought up to date" wait_healthy 60
  need wait_until 20 lines_at_least "$(output_of nothing_old)" $((had + 2))
  tell nothing_old
  check "$victim goes on: nothing is read as it was before" finish nothing_old
  watched "$victim hangs" 1500
done
check "verify finds nothing wrong" verify
