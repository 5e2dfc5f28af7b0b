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
# As many names as on ext4, and not one more. Another local file system below has a bound of its own.
case $(stat -f -c %T .) in
  fuse* | ext*)
    names() { perl -e 'link "b", "many/$_" or die "$_: $!\n" for 1 .. 64_999'; }
    need mkdir many
    check "65,000 names" names
    same "are so many links" 65000 "$(stat -c %h b)"
    fails_with "one more is refused" "Too many links" ln b many/more
    need rm many/1
    check "and taken once another has gone" ln b many/more
    check "all of them go" rm -r many
    same "but one" 1 "$(stat -c %h b)" ;;
esac
