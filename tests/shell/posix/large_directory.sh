# limit: 300
# A large directory is read whole while it changes.
files=100000
check "$files files are made" probe fill d $files
same "ls shows them all" $files "$(ls -f d | grep -c stable)"
check "each is seen exactly once while others come and go" probe scan d $files
check "a reader who renames what it finds comes to an end" probe renames-while-reading e 5000
same "find counts them" $files "$(find d -type f | wc -l)"
check "all are taken away" rm -r d
