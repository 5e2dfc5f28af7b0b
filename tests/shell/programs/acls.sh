# Access control lists, there and back with cp, tar and rsync.
skip_without setfacl
skip_without rsync
mkdir -p tree/d; for i in $(seq 1 20); do echo "$i" > "tree/d/$i"; done
check "set" setfacl -m u:12:rw,g:34:r,m::rw tree/d/1 tree/d/2
check "and a default" setfacl -d -m u:12:rwx,o::- tree/d
echo inherits > tree/d/new; mkdir tree/d/sub; echo inherits > tree/d/sub/new
says "a new file inherits" "^user:12:rwx" getfacl -n tree/d/new
says "and a new directory, with the default" "^default:user:12:rwx" getfacl -n tree/d/sub
check "cp -a" cp -a tree copied
check "keeps them" diff <(acls tree) <(acls copied)
check "tar" sh -c 'tar --acls -cf t.tar tree && mkdir out && tar --acls -xpf t.tar -C out'
check "keeps them" diff <(acls tree) <(acls out/tree)
check "rsync" rsync -aA tree/ synced/
check "keeps them" diff <(acls tree) <(acls synced)
need setfacl -m u:13:r tree/d/3
check "rsync brings a change of a list" rsync -aA tree/ synced/
check "alone" diff <(acls tree) <(acls synced)
