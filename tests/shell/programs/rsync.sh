# rsync: first copy, then only what changed.
skip_without rsync
mkdir -p from/d; for i in $(seq 1 100); do echo "text $i" > "from/d/$i"; done; ln -s d/1 from/l
check "copies" rsync -aH from/ to/
check "all is alike" same_trees from to
echo changed > from/d/7; rm from/d/8
same "only what changed goes again" "d/7" "$(rsync -aHi --delete from/ to/ | sed -n 's/^>f[^ ]* //p')"
check "and all is alike again" same_trees from to
