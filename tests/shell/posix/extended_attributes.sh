# setfattr and getfattr.
skip_without setfattr
touch f
check "set" setfattr -n user.colour -v green f
same "get" green "$(getfattr --only-values -n user.colour f)"
check "binary values" setfattr -n user.raw -v 0x00ff00 f
same "come back" 0x00ff00 "$(getfattr -e hex -n user.raw f | sed -n 's/^user.raw=//p')"
same "listed by name" "user.colour user.raw" "$(getfattr f | grep ^user | sort | tr '\n' ' ' | sed 's/ $//')"
check "removed" setfattr -x user.raw f
fails_with "gone" "No such attribute" getfattr -n user.raw f
fails_with "what is not there cannot be removed" "No such attribute" setfattr -x user.raw f
