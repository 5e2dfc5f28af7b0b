# find, grep -r, ls -lR over a small tree.
mkdir -p a/b c; echo needle > a/b/f; echo hay > c/g; ln -s a l
same "find by name" ./a/b/f "$(find . -name f)"
same "find by kind" "./l" "$(find . -type l)"
same "grep -r" a/b/f "$(grep -rl needle a c)"
same "ls" "a c l" "$(ls | tr '\n' ' ' | sed 's/ $//')"
same "ls -l shows sizes" 7 "$(ls -l a/b/f | awk '{print $5}')"
same "wildcards" "a/b/f" "$(echo a/*/f)"
