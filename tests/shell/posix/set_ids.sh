# Who keeps set-id bits, and who loses them; supplementary groups; sticky directories.
skip_without setpriv
chmod 755 .
umask 022
as() { # UID GID[,GROUP...] COMMAND...: the first group is the process's own
  local uid=$1 own=${2%%,*} more=${2#*,}; shift 2
  setpriv --reuid "$uid" --regid "$own" --groups "$more" "$@"
}
mode() { stat -c %a f; }
# fresh MODE: a file f of user 1000 and group 5000, which everyone may write; ctime is nobody's matter here.
fresh() { rm -f f; echo text > f; chown 1000:5000 f; chmod "$1" f; }
append() { sh -c 'echo more >> f'; }
after() { # WHAT EXPECTED MODE WHO GROUPS COMMAND...: the mode after the command
  local what=$1 expected=$2 before=$3 who=$4 groups=$5; shift 5
  fresh "$before"
  as "$who" "$groups" "$@" || echo "  (exit code $?)"
  same "$what" "$expected" "$(mode)"
}
write=(sh -c 'echo more >> f')
after "a stranger's write takes both bits" 777 6777 2000 2000 "${write[@]}"
after "the owner's, too" 777 6777 1000 1000 "${write[@]}"
after "root's takes none" 6777 6777 0 0 "${write[@]}"
after "without the right to keep them even root's does" 777 6777 0 0 setpriv --bounding-set -fsetid --inh-caps -fsetid "${write[@]}"
after "a set-gid bit without execution stays for the group's members" 2767 6767 2000 2000,5000 "${write[@]}"
after "and not for others" 767 6767 2000 2000 "${write[@]}"
after "a stranger's truncation" 777 6777 2000 2000 truncate -s 1 f
after "the owner's, longer" 777 6777 1000 1000 truncate -s 100 f
after "to the same length" 777 6777 1000 1000 truncate -s 5 f
after "a member's" 2767 6767 2000 2000,5000 truncate -s 1 f
after "and root's" 6777 6777 0 0 truncate -s 1 f
if unshare -Ur true 2> /dev/null; then
  after "rights within a user namespace of one's own are none here" 777 6777 2000 2000 unshare -Ur truncate -s 1 f
fi
after "opening with O_TRUNC" 777 6777 2000 2000 sh -c ': > f'
after "a stranger's fallocate" 777 6777 2000 2000 fallocate -l 8192 f
after "a hole that a stranger makes" 777 6777 2000 2000 fallocate -p -o 0 -l 4096 f
after "root's fallocate" 6777 6777 0 0 fallocate -l 8192 f
after "mode bits of a write are those of the whole" 755 4755 1000 1000 "${write[@]}"
after "chown by root takes both" 777 6777 0 0 chown 2000 f
after "to the same owner" 777 6777 0 0 chown 1000 f
after "a group by root" 777 6777 0 0 chgrp 2000 f
after "but not set-gid without execution" 2767 6767 0 0 chgrp 2000 f
after "the owner gives it to another group of theirs" 777 6777 1000 1000,6000 chgrp 6000 f
after "and loses set-gid also without execution, as no member" 767 6767 1000 1000,6000 chgrp 6000 f
after "a member keeps that" 2767 6767 1000 1000,5000,6000 chgrp 6000 f
after "the owner sets set-gid, as a member" 2755 755 1000 1000,5000 chmod g+s f
after "and as none in vain" 755 755 1000 1000 chmod g+s f
after "chmod by root keeps what it is told" 6711 777 0 0 chmod 6711 f
fresh 777
fails_with "who is not the owner does not chmod" "not permitted" as 2000 5000 chmod 700 f
fails_with "nor give it away" "not permitted" as 1000 1000 chown 2000 f
fails_with "nor to a group that is not theirs" "not permitted" as 1000 1000 chgrp 2000 f
fresh 6777
fails_with "what is refused" "not permitted" as 2000 2000 chown 2000 f
same "changes nothing" 6777 "$(mode)"

# Capabilities of a file go the same way, whoever writes.
if command -v setfattr > /dev/null; then
  caps() { getfattr -m - f 2> /dev/null | grep -c security.capability; }
  fresh 755; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 f
  same "a file has capabilities" 1 "$(caps)"
  chmod 755 f
  same "which chmod leaves" 1 "$(caps)"
  append
  same "and root's write takes away" 0 "$(caps)"
  setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 f; truncate -s 1 f
  same "as a truncation does" 0 "$(caps)"
  setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 f; chown 1000 f
  same "and a chown" 0 "$(caps)"
fi

# Supplementary groups.
fresh 660
check "a member by a supplementary group writes" as 2000 2000,5000 sh -c 'echo more >> f'
fails_with "another does not" "denied" as 2000 2000 sh -c 'echo more >> f'
mkdir -m 2770 shared; chgrp 5000 shared
chmod 2770 shared
check "and makes files in the group's directory" as 2000 2000,5000 sh -c 'umask 027; echo x > shared/f; mkdir shared/d; ln -s f shared/l; mkfifo shared/p'
same "which are the group's" "2000:5000 2000:5000 2000:5000 2000:5000" \
  "$(for n in f d l p; do stat -c %u:%g "shared/$n"; done | tr '\n' ' ' | sed 's/ $//')"
same "directories have the bit, too, files have not" "640 2750 777 640" \
  "$(for n in f d l p; do stat -c %a "shared/$n"; done | tr '\n' ' ' | sed 's/ $//')"
mkdir shared/d/e
same "down to the last" "2755 5000" "$(stat -c '%a %g' shared/d/e)"
as 2000 2000 true; as 3000 3000,5000 sh -c 'umask 0; echo x > shared/outsiders'
same "by whoever makes them" 3000:5000 "$(stat -c %u:%g shared/outsiders)"
mkdir plain; chmod 777 plain; as 2000 2000,5000 touch plain/f
same "elsewhere it is the maker's own group" 2000 "$(stat -c %g plain/f)"
mv f shared/moved; cp shared/f shared/copy
same "what is moved keeps its own, what is copied gets it" "5000 5000" "$(stat -c %g shared/moved shared/copy | tr '\n' ' ' | sed 's/ $//')"

# Sticky directories.
mkdir sticky; chown 1000:5000 sticky; chmod 1777 sticky
as 2000 2000 touch sticky/theirs sticky/other; as 3000 3000 touch sticky/mine
fails_with "others' files are not removed" "not permitted" as 3000 3000 rm -f sticky/theirs
fails_with "nor renamed" "not permitted" as 3000 3000 mv sticky/theirs sticky/taken
fails_with "nor replaced" "not permitted" as 3000 3000 mv -f sticky/mine sticky/theirs
fails_with "nor moved out" "denied|not permitted" as 3000 3000 mv sticky/theirs plain/taken
check "the directory's owner removes them" as 1000 1000 rm -f sticky/theirs
check "and the file's own" as 2000 2000 rm sticky/other
check "and root" rm sticky/mine
