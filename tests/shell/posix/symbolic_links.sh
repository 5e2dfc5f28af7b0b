# ln -s, readlink, and following.
echo text > file
check "a link is made" ln -s file link
same "it says where it leads" file "$(readlink link)"
same "it is followed" text "$(cat link)"
check "a link that leads nowhere is no error" ln -s nowhere dangling
fails_with "until it is followed" "No such file" cat dangling
same "it is as long as its target" 7 "$(stat -c %s dangling)"
ln -s loop loop
fails_with "a loop ends" "Too many levels" cat loop
long=$(printf 'x%.0s' $(seq 1 4000))
check "a long target is kept" ln -s "$long" long
same "whole" "$long" "$(readlink long)"
check "rm takes the link, not what it leads to" rm link
same "the file is there" text "$(cat file)"
