# chmod, chown, umask, set-id and sticky bits.
touch f
check "chmod" chmod 4751 f
same "all twelve bits are kept" 4751 "$(stat -c %a f)"
check "chown" chown 1000:2000 f
same "owner and group" 1000:2000 "$(stat -c %u:%g f)"
same "a new owner takes the set-id bits away" 751 "$(stat -c %a f)"
(umask 027; touch g; mkdir d)
same "the umask counts for files" 640 "$(stat -c %a g)"
same "and for directories" 750 "$(stat -c %a d)"
chown :2000 d; chmod 2770 d; touch d/h; mkdir d/e
same "a set-gid directory gives its group on" 2000 "$(stat -c %g d/h)"
same "and its bit to subdirectories" 2 "$(stat -c %a d/e | cut -c1)"
