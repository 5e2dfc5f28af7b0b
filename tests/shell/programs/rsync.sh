# rsync: first copy, then only what changed, with hard links, holes, owners, times and extended attributes.
skip_without rsync
skip_without setfattr
mkdir -p from/d; for i in $(seq 1 100); do echo "text $i" > "from/d/$i"; done; ln -s d/1 from/l
ln from/d/2 from/hard; truncate -s 5M from/hole; echo end >> from/hole; chown 12:34 from/d/3; chmod 2711 from/d/3
touch -d '1969-12-31 23:59:58.123456789' from/d/4; mkfifo from/fifo
for i in $(seq 1 20); do need setfattr -n user.number -v "$i" "from/d/$i"; done
need setfattr -n user.of -v d from/d; need setfattr -n trusted.t -v t from/d/5
check "copies" rsync -aHXS --modify-window=-1 --numeric-ids from/ to/
check "all is alike" same_trees from to
check "and all attributes" diff <(attributes from) <(attributes to)
echo changed > from/d/7; rm from/d/8; setfattr -n user.number -v other from/d/9
same "only what changed goes again" "d/7" "$(rsync -aHXSi --modify-window=-1 --delete from/ to/ | sed -n 's/^>f[^ ]* //p')"
check "and all is alike again" same_trees from to
check "with all attributes" diff <(attributes from) <(attributes to)
check "a change goes into the middle of a large file" sh -c 'seq 100000 > from/large && rsync -a from/large to/ &&
  sed -i "s/^50000$/changed/" from/large && rsync -a --inplace --no-whole-file from/large to/ && cmp from/large to/large'
