# A local ext4 for the cases that compare a mount with one: an image in the case's own directory.

# local_ext4 DIR: makes one of 2 GiB, sparse, and mounts it there; `clean_below` takes it away.
local_ext4() {
  need mkdir -p "$1"
  need truncate -s 2G "$1.img"
  # Room for extended attributes of 64 KiB, which ext4 has not got unless asked.
  need mkfs.ext4 -q -F -O ea_inode "$1.img"
  need mount -o loop,relatime "$1.img" "$1"
}

# in_step MOUNT LOCAL OPTION...: `probe instep` in directories of its own there, the kept histories first.
in_step() {
  local mount=$1/instep local=$2/instep file kept=(); shift 2
  for file in "$LIB"/../../instep/*.history; do kept+=(--replay "$file"); done
  mkdir -p "$mount" "$local" && probe instep --mount "$mount" --local "$local" "${kept[@]}" "$@"
}
