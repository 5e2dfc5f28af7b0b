# limit: 180
# git: init, add, commit, status, gc, clone.
skip_without git
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_GLOBAL=/dev/null
mkdir work; cd work || exit 1
check "init" git init -q -b main
for i in $(seq 1 200); do mkdir -p "d$((i % 10))"; echo "file $i" > "d$((i % 10))/$i"; done
check "add" git add -A
check "commit" git commit -qm first
same "status is clean" "" "$(git status --porcelain)"
echo more >> d1/1
same "a change is seen" " M d1/1" "$(git status --porcelain)"
check "commit -a" git commit -qam second
check "gc" git gc -q
check "fsck" git fsck --strict
check "clone" git clone -q . ../clone
check "the clone is alike" diff -r --exclude .git . ../clone
check "log" test "$(git -C ../clone log --oneline | wc -l)" = 2
check "checkout of the first" git checkout -q HEAD~1
same "takes the change back" "file 1" "$(cat d1/1)"
