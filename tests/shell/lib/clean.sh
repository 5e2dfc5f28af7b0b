# Ends what runs below a directory and takes away what is mounted there. By pid, and only what was started there.

# Pids from all pid files below a directory whose process still has that directory in its arguments.
pids_below() {
  local file pid
  while IFS= read -r file; do
    pid=$(cat "$file" 2> /dev/null) || continue
    case $pid in '' | *[!0-9]*) continue ;; esac
    if tr '\0' '\n' < "/proc/$pid/cmdline" 2> /dev/null | grep -qF "$1/"; then echo "$pid"; fi
  done < <(find "$1" -xdev -name '*.pid' 2> /dev/null)
}

clean_below() {
  local dir=$1 pid at
  # What waits for a file system that a case froze cannot be killed.
  mounts_below "$dir" | while IFS= read -r at; do case $at in */data/*) fsfreeze --unfreeze "$at" ;; esac; done 2> /dev/null
  for pid in $(pids_below "$dir"); do kill -CONT "$pid"; kill -KILL "$pid"; done 2> /dev/null
  # The deepest first; a mount of a dead mountd can only be detached. Blanks are listed as numbers.
  mounts_below "$dir" | while IFS= read -r at; do umount -l "$at" 2> /dev/null; done
}
mounts_below() {
  local at
  awk -v d="$1/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while IFS= read -r at; do printf '%b\n' "$at"; done
}
