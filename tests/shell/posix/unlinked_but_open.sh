# A file that was unlinked while open lives until it is closed.
check "written, read and cut without a name" probe unlinked f
head -c 6000000 /dev/urandom > g
begin held exec "$BIN/probe" held g
need wait_until 10 lines_at_least "$(output_of held)" 1
refuse "its name is gone" test -e g
tell held
check "its holder still reads all of it" finish held
mkdir d; touch d/x
(cd d && rm x && rmdir "$PWD" && check "a process may stand in a directory that is gone" true && fails_with "in which nothing can be made" "No such file" touch y)
