# mv: over files, over directories, between directories.
mkdir -p a b/sub; echo one > a/f; echo two > b/f
check "mv moves to another directory" mv a/f a/../b/g
same "the contents go along" one "$(cat b/g)"
refuse "the old name is gone" test -e a/f
check "mv replaces a file" mv b/g b/f
same "by the new one" one "$(cat b/f)"
check "a directory moves with what is in it" mv b c
same "all of it" one "$(cat c/f)"
mkdir empty full; touch full/x
fails_with "a directory with something in it is not replaced" "not empty" mv -T empty full
check "an empty one is" mv -T full empty
check "with what is in the other" test -e empty/x
fails_with "a directory does not go into itself" "itself" mv c c/sub/c
fails_with "a file does not replace a directory" "." mv -T c/f empty
echo 1 > x; echo 2 > y
refuse "RENAME_NOREPLACE refuses a name that is taken" probe noreplace x y
check "RENAME_EXCHANGE exchanges" probe exchange x y
same "both" "2 1" "$(cat x) $(cat y)"
