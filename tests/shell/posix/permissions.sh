# Permissions hold for those who are not root.
skip_without setpriv
chmod 755 .
echo secret > f; chmod 600 f
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
fails_with "another user does not read a private file" "denied" as_nobody cat f
fails_with "nor makes one in our directory" "denied" as_nobody touch new
chmod 644 f
same "a public one is read" secret "$(as_nobody cat f)"
fails_with "but not written" "denied" as_nobody sh -c 'echo x > f'
mkdir -m 1777 tmp; touch tmp/ours
fails_with "in a sticky directory others' files stay" "not permitted" as_nobody rm -f tmp/ours
check "in it one makes files of one's own" as_nobody touch tmp/theirs
check "and takes them away" as_nobody rm tmp/theirs
