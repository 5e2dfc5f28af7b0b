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
