# limit: 120
# The original client's session: its seven commands without a mount, what each server holds, and who is lost and back.
sh_() { printf '%s\n' "${@:2}" | "$BIN/raidfs" shell --dir "$DIR" $1 2>&1; }
cluster_up
echo "by the mount" > "$MNT/f"
sync -f "$MNT"

says "beside a mount it says where that is" "mounted at $MNT: this shell changes things through that mount" sh_ "" quit
says "it reads what the mount wrote" "^by the mount$" sh_ "" "read /f"
check "its seven commands work beside the mount, too" sh_ "" \
  "mkdir /m" "create /m/a" "write /m/a by the shell" "mv /m/a /m/b" "read /m/b" status
same "the mount sees what it did" "by the shell" "$(cat "$MNT/m/b")"
says "it reads what it wrote itself" "^both$" sh_ "" "write /m/c both" "read /m/c"
fails_with "what is refused is refused in the same words" "create: /m/b: file exists" sh_ "" "create /m/b"
ln -s "$CASE_DIR" "$MNT/out"
refuse "no link of the store leads out of it" sh_ "" "write /out/caught x"
refuse "nothing was written there" test -e "$CASE_DIR/caught"
check "rm" sh_ "" "rm -r /m" "rm /out"
same "nothing is left of it" f "$(ls "$MNT")"
says "--read-only changes nothing" "mkdir: this shell only reads" sh_ --read-only "mkdir /d"
refuse "a failed command shows in the exit code" sh_ --read-only "mkdir /d"
refuse "nothing was made" test -e "$MNT/d"

check "without a mount it may change things" r stop mountd
for n in 1 2 3 4; do says "it reaches fsd$n" "^connection established to fsd$n$" sh_ "" quit; done
at_once() { "$BIN/raidfs" shell --dir "$DIR" --read-only < /dev/null; }
for n in 1 2 3 4; do
  says "it says that, or that it does not yet, before it reads what it is to do (fsd$n)" "^(connection established to fsd$n|fsd$n is not reached: .*)$" at_once
done
check "mkdir, create, write" sh_ "" "mkdir /d" "create /d/a" "write /d/a some text" "create /d/b"
says "read shows what was written" "^some text$" sh_ "" "read /d/a"
fails_with "create of a path that is there is refused" "create: /d/a: file exists" sh_ "" "create /d/a"
says "mv takes the data along" "^some text$" sh_ "" "mv /d/a /g" "read g"
fails_with "the old name is gone" "read: /d/a: no such file" sh_ "" "read /d/a"
says "where names both servers of the pair" "chunk 0: pair [12]: fsd[1-4] \(primary\), fsd[1-4]" sh_ "" "where /g"
for n in 1 2 3 4; do
  says "fsd$n has every name: 2 directories, 3 files" "^fsd$n +[12] +in sync(, leads)? +2 +3 " sh_ "" status
done
holders=$(sh_ "" "where /g" | grep -oE '^chunk.*' | grep -oE 'fsd[1-4]' | sort)
same "the data is on two of them, one a mirror of the other" 2 "$(wc -l <<< "$holders")"
check "rm" sh_ "" "rm /g" "rm -r /d"
same "nothing is left of it" "f" "$(sh_ "" ls | grep -vE '^connection|^fsd. is not reached')"
same "what is not asked for is not mixed into what is" "f" "$(r shell <<< "ls" 2> /dev/null)"
messages() { r shell <<< "ls" 2>&1 > /dev/null; }
says "but said on standard error" "^(connection established to fsd1|fsd1 is not reached: .*)$" messages
odd_line() { printf 'mkdir /\377\nmkdir /behind\nls\n' | "$BIN/raidfs" shell --dir "$DIR" 2>&1; }
fails_with "a line that is not UTF-8 is said" "line 1 is not UTF-8" odd_line
fails_with "and those behind it are run" "mkdir: /behind: file exists" sh_ "" "mkdir /behind"
check "rm" sh_ "" "rm /behind"
fails_with "a wrong word is explained" "there is no command .format" sh_ "" "format /"
fails_with "a wrong use, too" "usage: mv OLD NEW" sh_ "" "mv /f"

mkfifo "$CASE_DIR/in"
begin shell bash -c '"$1" shell --dir "$2" < "$3" 2>&1' - "$BIN/raidfs" "$DIR" "$CASE_DIR/in"
exec 8> "$CASE_DIR/in"
heard() { grep -qxF -- "$1" "$(output_of shell)"; }
# One that it has not reached yet is not lost when it dies.
for n in 1 2 3 4; do check "it runs, and reaches fsd$n" wait_until 10 heard "connection established to fsd$n"; done
need r kill fsd2
check "a killed server is lost" wait_until 10 heard "connection lost to fsd2"
echo "write /f through the shell" >&8
echo "read /f" >&8
check "its mirror serves" wait_until 10 heard "through the shell"
need r start fsd2
check "it is back" wait_until 10 heard "fsd2 is back"
exec 8>&-
check "the cluster is healthy" wait_healthy 30
check "all copies are equal" verify

need r start mountd
says "--takeover ends the mount's session" "^by the shell$" sh_ --takeover "write /f by the shell" "read /f"
