# tar: there and back, with hard links, holes, owners, times and extended attributes.
mkdir -p tree/d; for i in $(seq 1 200); do head -c $((i * 97)) /dev/urandom > "tree/d/$i"; done
ln -s d/1 tree/link; ln tree/d/2 tree/hard; truncate -s 5M tree/hole; chmod 600 tree/d/3
chown 12:34 tree/d/4; chmod 4755 tree/d/4; touch -d '1969-12-31 23:59:58.123456789' tree/d/5; mkfifo tree/fifo
mkdir -m 3777 tree/sticky
check "packed" tar -cSf t.tar tree
mkdir out
check "unpacked" tar -xpf t.tar -C out
check "all is alike" same_trees tree out/tree
check "packed through a pipe" sh -c 'tar -cf - tree | gzip > t.tgz && tar -tzf t.tgz > list'
skip_without setfattr
for i in $(seq 1 50); do need setfattr -n user.number -v "$i" "tree/d/$i"; done
need setfattr -n user.raw -v 0x00ff0a00 tree/d/7; need setfattr -n trusted.t -v t tree/d/8; need setfattr -n user.of -v d tree/d
head -c 4000 /dev/urandom | base64 -w0 | head -c 3000 > long; need setfattr -n user.long -v "$(cat long)" tree/d/9
check "packed with all attributes" tar --format=posix --xattrs --xattrs-include='*' --numeric-owner -cSf x.tar tree
mkdir with
check "unpacked" tar --xattrs --xattrs-include='*' --numeric-owner -xpf x.tar -C with
check "all is alike" same_trees tree with/tree
check "and all attributes" diff <(attributes tree) <(attributes with/tree)
check "tar finds no difference" tar -C with -df x.tar
