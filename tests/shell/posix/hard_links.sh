# ln: two names, one file.
echo one > a
check "ln gives a second name" ln a b
same "both are one inode" "$(stat -c %i a)" "$(stat -c %i b)"
same "with two links" 2 "$(stat -c %h a)"
echo two > b
same "a change by one name is seen by the other" two "$(cat a)"
check "one name is taken away" rm a
same "the other stays" "two 1" "$(cat b) $(stat -c %h b)"
mkdir d
fails_with "a directory gets no second name" "." ln -n d e
fails_with "a name that is taken is refused" "exists" ln b d/../b
