# Comparing a mount with a local ext4.

# ext4_to_compare DIR: a local ext4, with room for extended attributes of 64 KiB, which it has not got unless asked.
ext4_to_compare() { local_ext4 "$1" 2G -O ea_inode; }

# in_step MOUNT LOCAL OPTION...: `probe instep` in directories of its own there, the kept histories first.
in_step() {
  local mount=$1/instep local=$2/instep file kept=(); shift 2
  for file in "$LIB"/../../instep/*.history; do kept+=(--replay "$file"); done
  mkdir -p "$mount" "$local" && probe instep --mount "$mount" --local "$local" "${kept[@]}" "$@"
}

# in_step_told ...: the same, and what differs is told beside the checks: much may be logged before the case ends.
in_step_told() {
  in_step "$@" 2> "$CASE_DIR/differs" && return
  grep -v "^mountd " "$CASE_DIR/differs" | head -n 60 | cut -c1-1000 | sed 's/^/#   /' >&3
  return 1
}
