# cp -a keeps contents, modes, owners, times, links and attributes.
mkdir -p from/d
echo text > from/d/file; chmod 640 from/d/file; touch -d '2001-02-03 04:05:06.789' from/d/file
chown 12:34 from/d/file
ln -s d/file from/link; ln from/d/file from/hard; ln -s /nowhere from/dangling; mkfifo from/pipe
chmod 1777 from/d
check "cp -a copies a tree" cp -a from to
check "all is alike" same_trees from to
same "times with their nanoseconds" "$(stat -c %y from/d/file)" "$(stat -c %y to/d/file)"
same "owners" 12:34 "$(stat -c %u:%g to/d/file)"
same "hard links stay one file" "$(stat -c %i to/d/file)" "$(stat -c %i to/hard)"
# Ranges, also such as a file system may copy by itself.
dd if=/dev/urandom of=long bs=1000 count=9001 status=none
check "cp copies a long file" cp long whole
check "with all of its bytes" cmp long whole
cp long onto; echo more >> onto
check "cp onto a longer file makes it shorter" cp whole onto
check "and is all of it" cmp long onto
truncate -s 20M sparse; dd if=long of=sparse bs=1000 seek=7000 count=3 conv=notrunc status=none
check "cp copies a file with holes" cp sparse holes
check "which reads the same" cmp sparse holes
