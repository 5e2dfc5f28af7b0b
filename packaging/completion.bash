# Completion of `raidfs` for bash.
_raidfs() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
  case $before in
    --dir | --data | --mount | --to) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    --config) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
  esac
  local words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="up down start stop kill status where shell verify scrub replace lost export help"
  else
    case $command in
      up) words="--dir --mount --servers --base-port" ;;
      down) words="--dir --force" ;;
      start | stop | kill) words="fsd1 fsd2 fsd3 fsd4 witness mountd --dir" ;;
      status) words="--dir --config --json --wait-healthy" ;;
      lost) words="--dir --config --json --accept --yes" ;;
      verify | scrub) words="--dir --config" ;;
      replace) words="fsd1 fsd2 fsd3 fsd4 witness --dir --config" ;;
      shell) words="--dir --config --read-only --takeover" ;;
      export) words="--data --list --to" ;;
      *) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$word")
}
complete -F _raidfs raidfs
