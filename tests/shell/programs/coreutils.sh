# What scripts use: install, mktemp, cp with reflinks, sparse and updated copies, split, sort with temporary files, and
# rm -r of a deep tree.
check "install" install -D -m 750 -o 12 -g 34 /bin/sh bin/deep/sh
same "with mode and owner" "750 12:34" "$(stat -c '%a %u:%g' bin/deep/sh)"
check "as it was" cmp /bin/sh bin/deep/sh
made=$(mktemp -p . x.XXXXXX); same "mktemp makes a file of one's own" 600 "$(stat -c %a "$made")"
made=$(mktemp -d -p . d.XXXXXX); same "and a directory" 700 "$(stat -c %a "$made")"
head -c 3000000 /dev/urandom > data
check "cp --reflink=auto" cp --reflink=auto data copy
check "is a copy" cmp data copy
truncate -s 50M sparse; dd if=data of=sparse bs=64k seek=300 count=10 conv=notrunc status=none
check "cp --sparse=always" cp -a --sparse=always sparse thin
check "is a copy" cmp sparse thin
sync thin; within "and is thin, in KiB" 600 1400 "$(du -k thin | cut -f1)"
same "du and ls count the same" "$(du -k thin | cut -f1)" "$(ls -sk thin | cut -d' ' -f1)"
echo old > a; echo new > b; touch -d '1 hour ago' a
check "cp -u" cp -u b a; same "takes the newer" new "$(cat a)"
check "cp -al" cp -al bin linked; same "links" "$(stat -c %i bin/deep/sh)" "$(stat -c %i linked/deep/sh)"
check "split" split -b 400k data part.; check "and back" sh -c 'cat part.* | cmp - data'
seq 200000 -1 1 > numbers
check "sort with temporary files" sort -n -S 200k -T . -o numbers numbers
same "sorts" "1 200000" "$(head -n 1 numbers) $(tail -n 1 numbers)"
check "shred" shred -u -n 1 copy
deep=$(printf 'deep/%.0s' $(seq 150))
check "a deep tree" mkdir -p "$deep"; touch "$deep/f"
check "rm -r" rm -r deep
refuse "takes all of it" test -e deep
check "mkfifo, and data through it" sh -c 'mkfifo p; echo through > p & read -r x < p; [ "$x" = through ]'
