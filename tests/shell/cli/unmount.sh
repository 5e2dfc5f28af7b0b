# limit: 240
# Every way in which a mount ends: what was written is there afterwards, and nobody is cut off unasked.
cluster_up
need r stop mountd
need mkdir -p "$MNT"
installed
fstab "defaults"
# written NAME: much is written, and nothing of it synced; its sum is kept.
written() {
  need there sh -c "for i in 1 2 3 4 5 6 7 8; do head -c 4000000 /dev/urandom > $MNT/$1.\$i; done; mkdir $MNT/$1; for i in \$(seq 200); do echo \$i > $MNT/$1/\$i; done"
  there sh -c "cd $MNT && find $1* -type f | sort | xargs sha256sum" > "$CASE_DIR/$1.sums"
}
# all_there NAME: it is mounted anew at once, and everything is as it was.
all_there() { there mount "$MNT" && there sh -c "cd $MNT && sha256sum --quiet -c $CASE_DIR/$1.sums"; }
daemons() { ps -eo pid,args | grep -F "mountd --config $DIR/" | grep -vE 'grep|setsid' | awk '{ print $1 }'; }
no_daemon() { [ -z "$(daemons)" ]; }
# user NAME COMMAND: a program on the mount that goes on until `leave NAME`; COMMAND makes it a user.
user() {
  need mkfifo "$CASE_DIR/$1.end"
  begin "$1" there sh -c "$2; echo here; read -r end < $CASE_DIR/$1.end; $3"
  need wait_until 10 lines_at_least "$(output_of "$1")" 1
}
leave() { echo now > "$CASE_DIR/$1.end"; finish "$1"; }

need there mount "$MNT"
written early
# Reading has just moved an access time.
need there sh -c "touch -a -d 2001-01-01 $MNT/early/1; cat $MNT/early/1"
everything_of() { there stat -c '%x %y %z %w %s %b %h %f %u %g %i' "$@"; }
before=$(everything_of "$MNT/early" "$MNT/early/1" "$MNT/early.1")
check "umount right behind the writes" there umount "$MNT"
check "everything is there" all_there early
same "with all its attributes, the access times that reading moved among them" "$before" "$(everything_of "$MNT/early" "$MNT/early/1" "$MNT/early.1")"

# Nobody can store anything for a moment: `umount` has to be there still when they go on.
written late
need hang fsd1 fsd2 fsd3 fsd4
begin ending there umount "$MNT"
need wait_until 20 not mounted_there
check "umount waits for servers that are late" not gone "${LOADS[ending]}"
need resume fsd1 fsd2 fsd3 fsd4
check "and returns when they have stored it" finish ending
check "and mountd has ended" no_daemon
check "everything is there" all_there late

user writer "exec 3>> $MNT/open" "echo last >&3"
fails_with "umount of a mount that is in use is refused" "busy" there umount "$MNT"
check "and the mount is as it was" there test -s "$MNT/early/1"
check "who used it notices nothing" leave writer
user sitter "cd $MNT/early" true
fails_with "a working directory is a use, too" "busy" there umount "$MNT"
need leave sitter

user writer2 "exec 3>> $MNT/open" "echo later >&3"
written lazy
daemon=$(daemons)
check "umount -l goes at once" there umount -l "$MNT"
refuse "the path is free" mounted_there
same "who has something open is served on" "$daemon" "$(daemons)"
fails_with "which is why it cannot be mounted anew yet" "mounted already" there mount "$MNT"
check "until he leaves" leave writer2
check "then mountd ends" wait_until 30 no_daemon
check "and everything is there" all_there lazy
same "what was written after it, too" "last later" "$(there cat "$MNT/open" | xargs)"

written told
user writer3 "exec 3>> $MNT/open" "! echo lost >&3"
daemon=$(daemons)
need kill -TERM $daemon
check "SIGTERM ends mountd though the mount is in use" wait_until 30 no_daemon
refuse "and frees the path" mounted_there
check "who used it gets errors" leave writer3
check "everything is there" all_there told

written forced
check "umount -f" there umount -f "$MNT"
check "loses nothing either" all_there forced
check "umount" there umount "$MNT"
check "mountd has ended by then" no_daemon
check "verify finds nothing wrong" verify
