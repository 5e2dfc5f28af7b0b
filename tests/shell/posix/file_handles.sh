# name_to_handle_at and open_by_handle_at: what an export over NFS lives on.
forget() { echo 2 > /proc/sys/vm/drop_caches; }
here=$(pwd -P)
mkdir -p a/b/c; echo text > a/b/file; echo deep > a/b/c/deep
file=$(probe handle a/b/file) || not_ok "a file has a handle"
dir=$(probe handle a/b/c); top=$(probe handle .)
same "a file is opened by its handle" text "$(probe open-handle . "$file")"
need forget
same "also when the kernel has forgotten it" text "$(probe open-handle . "$file")"
need forget
same "a directory, too, which knows where it is" "$here/a/b/c: deep" "$(probe open-handle . "$dir")"
need forget
mv a/b/c moved
same "after a move, it is where it was moved to" "$here/moved: deep" "$(probe open-handle . "$dir")"
need forget
same "the directory above all" "$here: a moved" "$(probe open-handle . "$top")"
mv a/b/file other; need forget
same "a file's handle does not depend on its name" text "$(probe open-handle . "$file")"
same "and is the same under another" "$file" "$(probe handle other)"
rm other; rm -r moved; need forget
fails_with "what is gone is stale" "Stale" probe open-handle . "$file"
fails_with "directories, too" "Stale" probe open-handle . "$dir"
echo new > other; need forget
fails_with "and stays so, whatever comes" "Stale" probe open-handle . "$file"
