# Cuts between machines, each shown to be real, made under load and healed: for the cases of `cut_off`.

# round WHAT COMMAND...: a cut, made and awaited by the command, under load; then all is healed.
round() {
  local what=$1 before; shift
  before=$(term)
  watch
  "$@"
  check "$what: the programs go on" moves_on
  heal_all
  check "$what: afterwards all is in sync" wait_healthy 60
  watched "$what" 1500
  within "$what: at most three elections" 0 3 $(($(term) - before))
}
# cut_is_real A B: neither gets a connection to the other.
cut_is_real() { refuse "$1 does not reach $2" reaches "$1" "$2"; }
either_put_out() { put_out "$1" || put_out "$2"; }
both_in_sync() { copy_is "$1" "in sync" && copy_is "$2" "in sync"; }

# old FILE SERVER: what a client beside the server reads is not what it was, though it reaches nobody else.
old_is_not_served() {
  echo newer > "$MNT/seen"; need sync "$MNT/seen"
  refuse "a client that reaches $1 only is not told what was before" grep -qx "older" <(seen_from "$1" /seen)
}
from_all() {
  echo older > "$MNT/seen"; need sync "$MNT/seen"
  case $(holders_of "$MNT/seen") in *fsd1*) victim=fsd2 ;; *) victim=fsd4 ;; esac
  same "a client beside $victim reads it" older "$(seen_from $victim /seen | grep -x older)"
  cut_off $victim
  cut_is_real $victim "$(mirror_of $victim)"
  need wait_until 20 put_out $victim
  old_is_not_served $victim
}
leader_from_all() {
  local victim; victim=$(leader)
  cut_off "$victim"
  cut_is_real "$victim" "$(mirror_of "$victim")"
  check "another leads" wait_until 20 another_leads "$victim"
  check "and it is put out" wait_until 20 put_out "$victim"
}
another_leads() { has_leader && ! is_leader "$1"; }
from_mirror() {
  cut_between fsd1 fsd2
  cut_is_real fsd1 fsd2
  check "one of the two is put out" wait_until 20 either_put_out fsd1 fsd2
}
from_mount() { # SERVER: that costs the path to it, and nothing else.
  cut_between mountd "$1"
  cut_is_real mountd "$1"
  pass_time 2000
  check "$1, which only the mount does not reach, stays in sync" both_in_sync "$1" "$(mirror_of "$1")"
}
from_leader() {
  local leads; leads=$(leader)
  case $leads in fsd1 | fsd2) victim=fsd3 ;; *) victim=fsd1 ;; esac
  cut_between "$leads" $victim
  cut_is_real $victim "$leads"
  check "a server that the leader does not hear is put out" wait_until 20 put_out $victim
}
to_nobody() {
  # shellcheck disable=SC2046
  cut_one_way $(with_each fsd3)
  cut_is_real fsd3 fsd4
  check "a server that is not heard is put out" wait_until 20 put_out fsd3
}
from_nobody() {
  # shellcheck disable=SC2046
  cut_one_way $(each_with fsd1)
  cut_is_real fsd2 fsd1
  check "a server that hears nobody is put out" wait_until 20 put_out fsd1
}
leader_shut() {
  local victim; victim=$(leader)
  shut "$victim"
  cut_is_real "$(mirror_of "$victim")" "$victim"
  check "its own connections live" reaches "$victim" "$(mirror_of "$victim")"
  check "another leads" wait_until 20 another_leads "$victim"
  check "and it is put out" wait_until 20 put_out "$victim"
}
flapping() {
  local n
  for n in 1 2 3; do
    cut_off fsd4
    cut_is_real fsd4 fsd3
    pass_time 500
    heal_all
    check "healed, fsd4 reaches fsd3" reaches fsd4 fsd3
    pass_time 1000
  done
}
