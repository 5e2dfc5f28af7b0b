# limit: 240
# git with a history and thousands of objects: 1,000 commits of a stream as loose objects, a rebase with a conflict in it,
# clone by its protocol, a second work tree, all packed, and fsck of everything.
skip_without git
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_GLOBAL=/dev/null GIT_EDITOR=true
git init -q -b main work; cd work || exit 1
git config gc.auto 0
# Each commit is four objects: itself, a file, its directory and the root.
stream() {
  awk 'BEGIN {
    for (n = 1; n <= 1000; n++) {
      print "commit refs/heads/main\ncommitter a <a@b> " 1700000000 + n " +0000\ndata <<END\ncommit " n "\nEND"
      print "M 644 inline d" n % 24 + 1 "/" int(n / 24) + 1 "\ndata <<END\nfile " n "\nEND"
    }
    print "M 644 inline both\ndata <<END\nbase\nEND\ndone"
  }'
}
check "a history of 1,000 commits, none of them packed" sh -c 'git -c fastimport.unpackLimit=100000 fast-import --done --quiet' < <(stream)
within "thousands of objects are loose" 3900 4100 "$(git count-objects | cut -d' ' -f1)"
check "fsck of them" git fsck --strict --full
check "checkout" git reset -q --hard
same "has the last of each" "1001 base" "$(git ls-files | wc -l) $(cat both)"
commits() { # BRANCH FROM
  git checkout -q -B "$1" "$2" || return 1
  local n
  for n in $(seq 1 4); do
    echo "$1 $n" | tee "d$n/$1" >> "d$n/1" && git add -A && git commit -qm "$1 $n" || return 1
  done
}
check "a branch of commits" commits topic main
need git checkout -q main
for n in $(seq 5 7); do echo "main $n" >> "d$n/2"; git commit -qam "main $n"; done
echo main > both; need git commit -qam conflict
need git checkout -q topic
echo topic > both; need git commit -qam conflict
refuse "a rebase stops where both changed a line" git rebase -q main
echo merged > both; need git add both
check "and goes on" git rebase --continue
same "all commits are on top of it" 5 "$(git log --oneline main..topic | wc -l)"
check "a clone by the protocol" git clone -q --no-local . ../clone
check "a clone with hard links" git clone -q --bare . ../linked
check "log of all of it" test "$(git log --oneline topic -- d1 d2 | wc -l)" -gt 80
check "gc" git gc -q --prune=now
same "packs all" 0 "$(git count-objects | cut -d' ' -f1)"
within "in one" 4000 4300 "$(git count-objects -v | sed -n 's/^in-pack: //p')"
check "fsck of the pack" git fsck --strict --full
check "the clones are whole" sh -c 'git -C ../clone fsck --strict --full && git -C ../linked fsck --strict --full'
check "a second work tree" git worktree add -q ../second main
same "is that of its branch" main "$(cat ../second/both)"
check "push and fetch" sh -c 'git -C ../clone checkout -q -b new && echo new > ../clone/new && git -C ../clone add new &&
  git -C ../clone commit -qm new && git -C ../clone push -q origin new && git rev-parse -q --verify new'
same "nothing is changed" "" "$(git status --porcelain)"
