# What cannot be done is refused with the right error.
touch f; mkdir d
fails_with "no such file" "No such file" cat none
fails_with "a directory is not read as a file" "Is a directory" cat d
fails_with "a file has nothing below it" "Not a directory" cat f/x
fails_with "a directory is not unlinked" "Is a directory" unlink d
fails_with "a file is not rmdir'ed" "Not a directory" rmdir f
fails_with "a file is not overwritten with noclobber" "cannot overwrite" bash -c 'set -C; echo > f'
check "requests that a file has no answer to" probe refused-ioctls i
