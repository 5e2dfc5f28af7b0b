# zip and unzip, which write into the middle of their archive, and a zip of Python's.
skip_without zip
skip_without unzip
need probe tree tree 100 3
chmod 640 tree/d0/e0/file0; ln -s d0/e0/file0 tree/link
check "packed" zip -qry t.zip tree
check "tested" unzip -qt t.zip
check "unpacked" unzip -q t.zip -d out
check "all is alike" same_trees tree out/tree
echo new > tree/new
check "one file more" zip -qr t.zip tree/new
same "is in it" new "$(unzip -p t.zip tree/new)"
check "one file less" zip -qd t.zip tree/new
check "and it is whole" unzip -qt t.zip
