# truncate: shorter, longer; cut bytes never come back.
head -c 9000000 /dev/urandom > f
head -c 5000000 f > "$CASE_DIR/head"
check "cut" truncate -s 5000000 f
check "the rest is as it was" cmp f "$CASE_DIR/head"
check "made longer again" truncate -s 9000000 f
same "what was cut reads as zeros" 0 "$(tail -c 4000000 f | tr -d '\0' | wc -c)"
check "the rest is still as it was" cmp f "$CASE_DIR/head" -n 5000000
check "cut to nothing" truncate -s 0 f
same "it is empty" 0 "$(wc -c < f)"
check "a large empty file costs nothing" truncate -s 1T f
within "in blocks" 0 16 "$(stat -c %b f)"
fails_with "it cannot be cut below nothing" "." truncate -s -2T g/none
