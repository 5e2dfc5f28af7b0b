# Sparse files: written with gaps, found by lseek, punched by fallocate.
check "holes take no room and are found" probe holes f
check "fallocate punches and reserves" probe punch g
check "a file of a TiB with next to nothing in it is no more work" probe vast v
check "dd with seek leaves a hole" dd if=/dev/zero of=h bs=1 count=1 seek=6000000 status=none
same "as long as it should be" 6000001 "$(stat -c %s h)"
within "with few blocks" 1 64 "$(stat -c %b h)"
check "cp keeps holes" cp --sparse=always h i
check "equal" cmp h i
within "and sparse" 0 64 "$(stat -c %b i)"
