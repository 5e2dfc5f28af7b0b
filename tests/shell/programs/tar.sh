# tar: there and back.
mkdir -p tree/d; for i in $(seq 1 200); do head -c $((i * 97)) /dev/urandom > "tree/d/$i"; done
ln -s d/1 tree/link; ln tree/d/2 tree/hard; truncate -s 5M tree/hole; chmod 600 tree/d/3
check "packed" tar -cSf t.tar tree
mkdir out
check "unpacked" tar -xf t.tar -C out
check "all is alike" same_trees tree out/tree
check "packed through a pipe" sh -c 'tar -cf - tree | gzip > t.tgz && tar -tzf t.tgz > list'
