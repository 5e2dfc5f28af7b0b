# setfacl and getfacl: who is let in, what is inherited, and what chmod makes of it.
skip_without setfacl
skip_without getfattr
skip_without setpriv
chmod 755 .
umask 022
facl() { getfacl -n -c -p -E "$@" | grep . | tr '\n' ' ' | sed 's/ $//'; }
mode() { stat -c %a "$1"; }
# as UID GID[,GROUP...] COMMAND...: the first group is the process's own.
as() {
  local uid=$1 own=${2%%,*} more=${2#*,}; shift 2
  setpriv --reuid "$uid" --regid "$own" --groups "$more" "$@"
}
reads() { as "$1" "$2" cat "$3" > /dev/null; }
writes() { as "$1" "$2" sh -c 'echo more >> "$1"' - "$3"; }
xattr_raw() { getfattr -h -e hex --only-values --absolute-names -n "system.posix_acl_$1" "$2"; }

# Who is let in.
echo secret > f; chown 1000:1000 f; chmod 640 f
refuse "a stranger does not read" reads 2000 2000 f
check "a user is named" setfacl -m u:2000:r f
same "the list" "user::rw- user:2000:r-- group::r-- mask::r-- other::---" "$(facl f)"
check "who then reads" reads 2000 2000 f
refuse "and does not write" writes 2000 2000 f
refuse "nor does another user" reads 3000 3000 f
check "a group is named" setfacl -m g:5000:rw f
check "its members write, by a supplementary group, too" writes 3000 3000,5000 f
same "the mask is the group's bits" 660 "$(mode f)"
check "a mask is set" setfacl -m m::r f
same "and shown by the bits" 640 "$(mode f)"
refuse "it holds for the named" writes 3000 5000 f
check "the owner is not held by it" writes 1000 1000 f
setfacl -m u:2000:- f
refuse "a named user has what the list says, not what the group has" reads 2000 1000 f
mkdir -m 700 d; chown 1000:1000 d; echo inside > d/x
refuse "a directory keeps a stranger out" reads 2000 2000 d/x
setfacl -m u:2000:x d
check "and lets a named one through" reads 2000 2000 d/x
refuse "who may not list it" as 2000 2000 ls d
refuse "who is not the owner does not set a list" as 2000 2000 setfacl -m u:2000:rwx d

# chmod and the list.
check "chmod" chmod 604 f
same "sets owner, mask and others" "user::rw- user:2000:--- group::r-- group:5000:rw- mask::--- other::r--" "$(facl f)"
chmod g+rw f
same "the group's bits are the mask" "user::rw- user:2000:--- group::r-- group:5000:rw- mask::rw- other::r--" "$(facl f)"
before=$(stat -c %z f); wait_until 10 sh -c '[ "$(date +%s%N)" -gt "$(($(stat -c %.9Z "$1" | tr -d .) + 20000000))" ]' - f
setfacl -m u:2000:r f
refuse "a new list is a change of the inode" [ "$before" = "$(stat -c %z f)" ]
check "the list is taken away" setfacl -b f
same "nothing is left of it" "user::rw- group::r-- other::r--" "$(facl f)"
same "not even an attribute" "" "$(getfattr -d -m - f)"
setfacl --set u::rw,g::r,o::- f
same "a list that says no more than the bits is only bits" "640" "$(mode f)$(getfattr -d -m - f)"
setfacl -m u:2000:r f
same "it is listed as an attribute" "system.posix_acl_access" "$(getfattr -m - f | grep ^system)"
setfattr -x system.posix_acl_access f
same "and taken away as one" "640 user::rw- group::r-- other::---" "$(mode f) $(facl f)"
check "taking away what is not there is no error" setfattr -x system.posix_acl_access f

# What a set-gid bit survives.
touch g; chown 1000:5000 g
chmod 2755 g; as 1000 1000,5000 setfacl -m u:2000:rwx g
same "a member of the group keeps the set-gid bit" 2775 "$(mode g)"
as 1000 1000 setfacl -m u:2000:rx g
same "somebody else loses it" 755 "$(mode g)"
chmod 6755 g; setfacl -m u:2000:rwx g
same "root keeps all" 6775 "$(mode g)"

# What is inherited.
mkdir p; chmod 755 p
check "a default list" setfacl -d -m u:2000:rwx,g:5000:rx p
same "is a list of its own" "user::rwx user:2000:rwx group::r-x group:5000:r-x mask::rwx other::r-x" "$(getfacl -n -c -p -d p | grep . | tr '\n' ' ' | sed 's/ $//')"
same "and changes no bits" 755 "$(mode p)"
(umask 077; touch p/f; mkdir p/d; mkfifo p/p; ln -s f p/l; echo x > p/d/deep; mknod p/s p; cp f p/copy)
same "a file has it, less what the program did not ask for" "user::rw- user:2000:rwx group::r-x group:5000:r-x mask::rw- other::r--" "$(facl p/f)"
same "the umask was put aside" "664 775 664" "$(mode p/f) $(mode p/d) $(mode p/p)"
same "a directory has it for itself" "user::rwx user:2000:rwx group::r-x group:5000:r-x mask::rwx other::r-x" "$(facl p/d | sed 's/ default:.*//')"
same "and passes it on" "default:user::rwx default:user:2000:rwx default:group::r-x default:group:5000:r-x default:mask::rwx default:other::r-x" "$(facl p/d | sed 's/.* other::r-x //')"
same "as is seen below it" "user::rw- user:2000:rwx group::r-x group:5000:r-x mask::rw- other::r--" "$(facl p/d/deep)"
same "a pipe has it" "user::rw- user:2000:rwx group::r-x group:5000:r-x mask::rw- other::r--" "$(facl p/p)"
same "a copy's mode is what cp asked for" "user::rw- user:2000:rwx group::r-x group:5000:r-x mask::r-- other::---" "$(facl p/copy)"
ln p/f p/hard; mv f p/moved
same "what is linked or moved keeps what it has" "user::rw- user:2000:rwx group::r-x group:5000:r-x mask::rw- other::r--|user::rw- group::r-- other::---" "$(facl p/hard)|$(facl p/moved)"
mkdir q; setfacl -d --set u::rwx,g::rx,o::- q
(umask 0; touch q/f; mkdir q/d)
same "a default list without names leaves bits" "640 750" "$(mode q/f) $(mode q/d)"
same "and itself to directories" "user::rwx group::r-x other::--- default:user::rwx default:group::r-x default:other::---" "$(facl q/d)"
chown :5000 q; chmod g+s q; (umask 0; mkdir q/e)
same "it goes with a set-gid directory" "2750 5000" "$(stat -c '%a %g' q/e)"
check "the default list is taken away" setfacl -k q
(umask 027; touch q/g)
same "and the umask counts again" 640 "$(mode q/g)"

# What cannot be.
fails_with "a default list of a file" "denied|Only directories" setfacl -d -m u:2000:r p/f
fails_with "garbage" "Invalid argument" setfattr -n system.posix_acl_access -v 0x0200000001 p/f
fails_with "a list without everyone else" "Invalid argument" setfattr -n system.posix_acl_access -v 0x0200000001000700ffffffff04000500ffffffff p/f
fails_with "one with a name and without a mask" "Invalid argument" setfattr -n system.posix_acl_access \
  -v 0x0200000001000700ffffffff020007000500000004000500ffffffff20000000ffffffff p/f
fails_with "another version" "not supported" setfattr -n system.posix_acl_access -v 0x0300000001000700ffffffff p/f
fails_with "a list of a symbolic link" "not supported" setfattr -h -n system.posix_acl_access \
  -v 0x0200000001000700ffffffff04000500ffffffff20000000ffffffff p/l
fails_with "who has none has no data" "No such attribute" getfattr --absolute-names -n system.posix_acl_access p/moved

# Copies have the lists of what they are copies of.
tree_lists() { (cd "$1" && find . | LC_ALL=C sort | getfacl -n -p - | grep .); }
check "cp -a" cp -a p copied
same "copies lists" "$(tree_lists p)" "$(tree_lists copied)"
check "getfacl's own copy" sh -c 'getfacl -R -n p > lists && setfacl -R -b -k p && setfacl --restore=lists'
same "is as good" "$(tree_lists copied)" "$(tree_lists p)"
if command -v tar > /dev/null; then
  mkdir untarred
  check "tar --acls" sh -c 'tar -C p --acls -cf - . | tar -C untarred --acls -xpf -'
  same "brings them back" "$(tree_lists p)" "$(tree_lists untarred)"
fi
if command -v rsync > /dev/null; then
  check "rsync -A" rsync -aA p/ synced/
  same "brings them over" "$(tree_lists p)" "$(tree_lists synced)"
fi
