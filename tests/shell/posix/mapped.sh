# mmap: a shared mapping and the file are one.
check "written through a mapping, read from the file, and back" probe mmap f
cp "$BIN/probe" program
check "a program is run from it" ./program times g
