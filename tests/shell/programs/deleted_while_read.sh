# find -delete takes a tree away while tar reads it: tar says what has gone and goes on, what it packed is whole, and the
# tree is gone.
need probe tree tree 1500 9
need sums tree > before
mkfifo pipe
reads() { tar -cf - tree > pipe; }
begin reader reads
exec 8< pipe
# It has begun, and can go no further than the pipe holds.
need dd of=first bs=64k count=1 iflag=fullblock status=none <&8
begin deleter find tree -delete
half_gone() { [ "$(find tree -type f 2> /dev/null | wc -l)" -lt 750 ]; }
need wait_until 20 half_gone
cat first - <&8 > t.tar
exec 8<&-
finish reader; code=$?
within "tar says at most that files went" 0 1 $code
check "find deletes all" finish deleter
refuse "the tree is gone" test -e tree
mkdir out
check "what was packed can be unpacked" tar -xf t.tar -C out
packed=$(find out -type f | wc -l)
within "some files, not all" 1 1499 "$packed"
(cd out/tree && find . -type f -print0 | xargs -0 sha256sum) | sort > after
same "all of them whole" "$packed" "$(sort before | comm -12 - after | wc -l)"
