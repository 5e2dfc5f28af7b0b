# Replacing by rename, as editors do: sed -i, and vim where it is.
seq 1 1000 > f
check "sed -i" sed -i 's/^500$/changed/' f
same "changes the line" changed "$(sed -n 500p f)"
same "and nothing else" 1000 "$(wc -l < f)"
inode=$(stat -c %i f)
check "a new file takes the old one's place" sh -c 'cp f f.new && mv f.new f'
refuse "with another inode" test "$inode" = "$(stat -c %i f)"
if command -v vim > /dev/null; then
  check "vim writes" vim -u NONE -es -c '1s/1/vim/' -c wq f
  same "what was typed" vim "$(head -n 1 f)"
fi
