# limit: 300
# only when asked
# A file has as many names as on ext4, and not one more.
case $(stat -f -c %T .) in
  fuse* | ext*) ;;
  *) echo "ok - $CASE # SKIP another local file system has a bound of its own" >&3; exit 0 ;;
esac
echo one > b
names() { perl -e 'link "b", "many/$_" or die "$_: $!\n" for 1 .. 64_999'; }
need mkdir many
check "65,000 names" names
same "are so many links" 65000 "$(stat -c %h b)"
fails_with "one more is refused" "Too many links" ln b many/more
need rm many/1
check "and taken once another has gone" ln b many/more
check "all of them go" rm -r many
same "but one" "1 one" "$(stat -c %h b) $(cat b)"
