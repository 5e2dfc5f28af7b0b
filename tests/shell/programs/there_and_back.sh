# limit: 180
# A tree of everything that a local disk can hold goes by tar into the directory, there by rsync into another, and by each
# of them back: then nothing differs, neither names, bytes, holes, links, modes, owners and times, nor attributes and lists.
source "$LIB/trees.sh"
for program in tar rsync getfattr setfacl setcap; do skip_without $program; done
here=$CASE_DIR/here
need varied_tree "$here/tree"
by_tar() { # FROM TO: what is in it
  local options=(--format=posix --xattrs '--xattrs-include=*' --acls --numeric-owner --sparse)
  mkdir -p "$2" && tar "${options[@]}" -C "$1" -cf - . | tar "${options[@]}" -C "$2" -xpf - && [ "${PIPESTATUS[*]}" = "0 0" ]
}
by_rsync() { rsync -aHAXS --numeric-ids --modify-window=-1 "$1/" "$2/"; }
blocks() { stat -c %b "$1/sparse"; }

check "by tar, there" by_tar "$here/tree" tarred
nothing_differs "by tar, there" "$here/tree" tarred
within "holes are holes" 16 256 "$(blocks tarred)"
check "by rsync, within" by_rsync tarred synced
nothing_differs "by rsync, within" "$here/tree" synced
within "holes are holes" 16 256 "$(blocks synced)"
check "rsync has nothing more to do" test -z "$(rsync -aHAXSin --numeric-ids --modify-window=-1 --delete "$here/tree/" synced/)"
check "by tar, back" by_tar synced "$here/by_tar"
nothing_differs "by tar, back" "$here/tree" "$here/by_tar"
check "by rsync, back" by_rsync synced "$here/by_rsync"
nothing_differs "by rsync, back" "$here/tree" "$here/by_rsync"
within "holes are holes there, too" 16 256 "$(blocks "$here/by_rsync")"
