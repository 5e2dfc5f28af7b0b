# Replacing by rename, as editors do: sed -i, and vim with its swap, backup and undo files.
seq 1 1000 > f
check "sed -i" sed -i 's/^500$/changed/' f
same "changes the line" changed "$(sed -n 500p f)"
same "and nothing else" 1000 "$(wc -l < f)"
inode=$(stat -c %i f)
check "a new file takes the old one's place" sh -c 'cp f f.new && mv f.new f'
refuse "with another inode" test "$inode" = "$(stat -c %i f)"
skip_without vim
edit() { vim -N -u NONE -i NONE -es "$@" f; }
chmod 640 f; chown 12:34 f; ln f name
check "vim writes" edit -c 'set backupcopy=no' -c '1s/1/vim/' -c wq
same "what was typed" vim "$(head -n 1 f)"
same "and keeps mode and owner" "640 12:34" "$(stat -c '%a %u:%g' f)"
check "with a backup, and an undo file" edit -c 'set backup backupskip= backupext=.old undofile backupcopy=yes' -c '$s/1000/last/' -c wq
same "of what was" 1000 "$(tail -n 1 f.old)"
check "undone later" edit -c 'set undofile' -c 'silent undo' -c wq
same "it is as before" 1000 "$(tail -n 1 f)"
check "a file of three million bytes" edit -c 'normal G' -c 'r !seq 400000' -c wq
same "is whole" 401000 "$(wc -l < f)"
same "no swap file is left" "" "$(find . -name '*.sw?')"
