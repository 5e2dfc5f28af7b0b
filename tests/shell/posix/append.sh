# O_APPEND from several processes: no line overwrites another.
for w in a b c d; do begin "append_$w" exec "$BIN/probe" append log 500 "$w"; done
for w in a b c d; do need finish "append_$w"; done
same "all lines are there" 2000 "$(wc -l < log)"
same "each once" 2000 "$(sort -u log | wc -l)"
same "each whole" 0 "$(grep -cvE '^[abcd] [0-9]+$' log)"
for w in a b c d; do grep "^$w" log > "$CASE_DIR/$w"; done
check "each process's in its order" sort -c -k2n "$CASE_DIR/a"
