# mkdir, mkdir -p, rmdir, and the link counts of directories.
check "mkdir -p makes a path" mkdir -p a/b/c
check "and does not mind that it is there" mkdir -p a/b/c
fails_with "mkdir refuses a name that is taken" "exists" mkdir a
fails_with "rmdir refuses a directory with something in it" "not empty" rmdir a/b
fails_with "mkdir below a file is refused" "Not a directory" sh -c 'touch f && mkdir f/x'
same "a directory's links are 2 and its subdirectories" 3 "$(stat -c %h a)"
check "rmdir takes an empty one away" rmdir a/b/c
same "and a link with it" 2 "$(stat -c %h a/b)"
check "rm -r takes the rest" rm -r a
refuse "it is gone" test -e a
mkdir left
check "who stands in a directory that is removed can list it" sh -c 'cd left && rmdir ../left && ls -a > ../listed'
same "and sees nothing in it" "" "$(cat listed)"
