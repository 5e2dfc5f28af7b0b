# limit: 400
# bounds no time
# Both servers of a pair are gone for good: the rest goes on, what is lost is listed file by file, and accepting that is refused
# until it is true, says what it does, and is confirmed. Then the pair begins anew on empty disks; what is lost is an error,
# never zeros, until it is written anew.
config 'io_timeout = "2s"'
cluster_up
data=$DIR/data
need mkdir "$MNT/dir"
for n in $(seq 1 12); do head -c 100000 /dev/urandom > "$MNT/dir/f$n"; done
# Of these some chunks are on either pair.
for n in 1 2; do head -c 9M /dev/urandom > "$MNT/large$n"; done
need ln "$MNT/dir/f1" "$MNT/second-name"
: > "$MNT/empty"
need sync "$MNT"/dir/* "$MNT"/large*
sums "$MNT" > "$CASE_DIR/sums"

# on_the_pair FILE...: those that have bytes on fsd3 and fsd4.
on_the_pair() { local f; for f in "$@"; do case "$(holders_of "$f")" in *fsd3*) echo "$f" ;; esac; done; }
gone=$(on_the_pair "$MNT"/dir/f* "$MNT/second-name" "$MNT"/large* | sort)
small=$(grep dir/ <<< "$gone" | tail -n 1)
need test -n "$small"
need test "$(on_the_pair "$MNT"/large* | wc -l)" = 2
whole=$(comm -23 <(printf '%s\n' "$MNT"/dir/f* "$MNT"/second-name | sort) <(echo "$gone"))
need test -n "$whole"
# Paths as the command says them, with how many of their bytes are lost.
lost() { r lost | sed -n 's/^LOST *\([0-9]*\) of *\([0-9]*\)  /\1 \2 /p'; }
lost_paths() { lost | cut -d' ' -f3- | sort; }
inside() { sed "s|^$MNT||" <<< "$1"; }
drop() { local f; for f in $gone $whole; do dd if="$f" iflag=nocache count=0 status=none; done; echo 3 > /proc/sys/vm/drop_caches; }
unreadable() { ! dd if="$1" of=/dev/null bs=64k iflag=direct status=none 2> "$CASE_DIR/error" && grep -q "Input/output error" "$CASE_DIR/error"; }
right() { (cd "$MNT" && sha256sum --quiet -c <(for f in $1; do awk -v path=".${f#"$MNT"}" '$2 == path' "$CASE_DIR/sums"; done)); }
# listed BYTES FILE: so many of a small file's bytes are lost.
listed() { lost | grep -qxF "$1 100000 $(inside "$2")"; }
new_on_both() {
  local i
  rm -rf "$MNT/new"; mkdir "$MNT/new"
  for i in 1 2 3 4; do head -c 50000 /dev/urandom > "$MNT/new/$i"; done
  sync "$MNT"/new/*
  [ "$(on_the_pair "$MNT"/new/* | wc -l)" = 2 ]
}

says "while all is well nothing is lost" "^nothing is lost: 15 files" r lost
check "and the exit code says so" r lost
fails_with "the loss of a pair that serves is not accepted" "fsd3 answers" r lost --accept fsd3+fsd4 --yes
fails_with "nor that of one that there is not" "no pair \"fsd1\\+fsd3\".*fsd1\\+fsd2, fsd3\\+fsd4" r lost --accept fsd1+fsd3 --yes

# Nobody who uses the other pair notices.
begin_small 1
crash fsd4
need wait_until 10 copy_is fsd4 stale
fails_with "nor while one of the two is left" "fsd3 answers" r lost --accept fsd3+fsd4 --yes
fails_with "whichever is named first" "the loss of fsd3\\+fsd4 .*fsd3 answers" r lost --accept fsd4+fsd3 --yes
crash fsd3
need mkdir "$CASE_DIR/old"
need mv "$data/fsd3" "$data/fsd4" "$CASE_DIR/old"
drop
check "files on the other pair are read" right "$whole"
check "and new ones are written" cp "$CASE_DIR/sums" "$MNT/while-away"
need rm "$MNT/while-away"
check "what would be lost is listed, and nothing else" [ "$(lost_paths)" = "$(inside "$gone")" ]
fails_with "the exit code says that something is" "^LOST" r lost
check "with all of a small file's bytes" listed 100000 "$small"
same "and one chunk or two of a large one" "$((9 << 20))" "$(lost | awk '/large/ { n += $1 } END { print n }')"
same "also as JSON" "$(lost | wc -l)" "$(r lost --json | grep -c '"path"')"
fails_with "fsd3 cannot be replaced, as it had the last copy" "only one of its pair" r replace fsd3

fails_with "without a confirmation nothing happens" "not confirmed, and nothing has changed" r lost --accept fsd3+fsd4 < /dev/null
fails_with "nor with a wrong one" "not confirmed" r lost --accept fsd3+fsd4 <<< "lose fsd1+fsd2"
need copy_is fsd3 "in sync"
says "it says exactly what it will do" "files with bytes there, .* of them, lose these for good" r lost --accept fsd3+fsd4 < /dev/null
check "it is accepted once it is confirmed, and they have been silent for long enough" r lost --accept fsd3+fsd4 <<< "lose fsd3+fsd4"
fails_with "once" "accepted already" r lost --accept fsd3+fsd4 --yes
says "status says what the pair waits for" "its loss was accepted, it goes on once fsd3 or fsd4 is started with an empty" r status
check "what is lost is listed as before" [ "$(lost_paths)" = "$(inside "$gone")" ]
check "a lost file can be removed before the pair goes on" rm "$MNT/large2"
gone=$(grep -v large2 <<< "$gone")

need mv "$CASE_DIR/old/fsd4" "$data/fsd4"
fails_with "the old directory is refused" "ended \\(exit status: 3\\)" r start fsd4
need mv "$data/fsd4" "$CASE_DIR/old/fsd4"
check "an empty one is taken" r start fsd4
check "and the pair goes on with it" wait_until 30 copy_is fsd4 "in sync"
drop
for f in $gone; do check "what is lost is an error, not zeros (${f#"$MNT"/})" unreadable "$f"; done
check "what lies elsewhere is as it was" right "$whole"
check "the second follows" r start fsd3
check "and catches up" wait_healthy 60
SMALL_WAIT='' end_small "the other pair was lost and begun anew"
check "it is listed still" [ "$(lost_paths)" = "$(inside "$gone")" ]

# Each way to deal with it.
n=$(wc -l <<< "$gone")
need cp "$CASE_DIR/sums" "$small"
same "a file that is written anew is whole" "$(sha256sum < "$CASE_DIR/sums")" "$(sha256sum < "$small")"
check "and listed no more" [ "$(lost_paths | wc -l)" = $((n - 1)) ]
head -c 9M /dev/urandom > "$CASE_DIR/again"
check "a large one can be written over in place" dd if="$CASE_DIR/again" of="$MNT/large1" bs=1M conv=notrunc,fsync status=none
drop
check "and is whole then" cmp "$CASE_DIR/again" "$MNT/large1"
check "and listed no more" [ "$(lost_paths | wc -l)" = $((n - 2)) ]
part=$(grep dir/ <<< "$gone" | sed -n 2p)
need test "$part" != "$small"
refuse "a part of a block of which nobody has the rest is not written" dd if="$CASE_DIR/again" of="$part" bs=100 count=1 conv=notrunc,fsync status=none
check "a whole block is" dd if="$CASE_DIR/again" of="$part" bs=4096 count=1 conv=notrunc,fsync status=none
drop
check "and is there" cmp -n 4096 "$CASE_DIR/again" "$part"
check "but not the rest" unreadable "$part"
check "of which fewer bytes are lost" listed $((100000 - 4096)) "$part"

check "new files go to both pairs again" wait_until 20 new_on_both
sums "$MNT/new" > "$CASE_DIR/new"
says "verify says in one line what was accepted" "^lost .* in .* files? were lost with a pair, which was accepted" verify
check "and finds nothing wrong" verify
check "nor does a scrub" r scrub
check "and the offline copy has what nobody else has" "$BIN/raidfs" export --data "$CASE_DIR/old/fsd3" --to "$CASE_DIR/restored"
rest=$(lost_paths)
for path in $rest; do
  need cp "$CASE_DIR/restored$path" "$MNT$path"
done
says "restored, nothing is lost any more" "^nothing is lost" r lost
crash fsd4
check "either copy has all" sh -c 'cd "$1/new" && sha256sum --quiet -c "$2"' - "$MNT" "$CASE_DIR/new"
back fsd4
need wait_healthy 60
# What was written before the loss was synced, or removed.
check "mountd ends" r stop mountd
refuse "and does not take what was synced or removed before the loss for lost" grep "something may be lost\|not everything" "$DIR/log/mountd.log"
check "verify finds nothing wrong" verify
