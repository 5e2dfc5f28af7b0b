# Handles of files mean the same after a remount, and after a mount that died.
cluster_up
mkdir -p "$MNT/a/b"; echo text > "$MNT/a/b/file"; echo gone > "$MNT/gone"
file=$(probe handle "$MNT/a/b/file"); dir=$(probe handle "$MNT/a/b"); gone=$(probe handle "$MNT/gone")
need rm "$MNT/gone"
need r stop mountd
need r start mountd
same "a file" text "$(probe open-handle "$MNT" "$file")"
same "a directory, which knows where it is" "$MNT/a/b: file" "$(probe open-handle "$MNT" "$dir")"
fails_with "what is gone" "Stale" probe open-handle "$MNT" "$gone"
sync "$MNT/a/b/file"
need crash mountd
need r start mountd
same "and after the mount was killed" text "$(probe open-handle "$MNT" "$file")"
same "as the handle that the file has now" "$file" "$(probe handle "$MNT/a/b/file")"
