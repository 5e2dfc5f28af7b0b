# mmap: a shared mapping and the file are one.
check "written through a mapping, read from the file, and back" probe mmap f
check "behind the end, and behind a cut, a mapping is no memory; grown again, it is zeros" probe mapped-cut cut
check "what was stored through a mapping is no hole" probe mapped-holes sparse
cp "$BIN/probe" program
check "a time that was set stays, whatever was stored before" probe mapped-times dated
check "what was stored behind the end is not in a file that grows" probe mapped-tail tail
check "a file is cut and grows while it is stored to and synced" probe stored-while-cut both 300
check "a program is run from it" ./program times g
