# What is written is read: small, large, over chunk borders, in the middle, at the end.
printf hello > small
same "a small file holds what was written" hello "$(cat small)"
printf ' world' >> small
same "appending adds at the end" "hello world" "$(cat small)"
printf J | dd of=small bs=1 seek=0 conv=notrunc status=none
same "writing in the middle changes only that" "Jello world" "$(cat small)"
head -c 13000000 /dev/urandom > "$CASE_DIR/large"
check "13 MB are copied" cp "$CASE_DIR/large" large
check "and are equal" cmp "$CASE_DIR/large" large
for at in 4194303 8388600 12999990; do
  printf 'over the border' | tee >(dd of="$CASE_DIR/large" bs=1 seek=$at conv=notrunc status=none) |
    dd of=large bs=1 seek=$at conv=notrunc status=none
done
need wait_until 5 cmp -s "$CASE_DIR/large" large
check "writes over the borders of chunks land where they should" cmp "$CASE_DIR/large" large
same "a longer write makes the file longer" 13000005 "$(stat -c %s large)"
: > small
same "opening with > empties" 0 "$(stat -c %s small)"
check "writes past the cache that are waited for later are seen by reads through it" probe submitted submitted 300
check "what is written while others open the file is what is read then" probe reopened reopened 5000
