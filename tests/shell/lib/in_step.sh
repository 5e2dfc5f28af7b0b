# Comparing a mount with a local ext4.

# ext4_to_compare DIR: a local ext4, with room for extended attributes of 64 KiB, which it has not got unless asked.
ext4_to_compare() { local_ext4 "$1" 2G -O ea_inode; }

# in_step MOUNT LOCAL OPTION...: `probe instep` in directories of its own there, the kept histories first.
in_step() {
  local mount=$1/instep local=$2/instep file kept=(); shift 2
  for file in "$LIB"/../../instep/*.history; do kept+=(--replay "$file"); done
  mkdir -p "$mount" "$local" && probe instep --mount "$mount" --local "$local" "${kept[@]}" "$@"
}
