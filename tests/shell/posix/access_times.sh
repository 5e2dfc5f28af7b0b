# Reading moves an access time as relatime has it: when a change or a day lies behind it, once, and nothing but it.
case ,$(findmnt -no OPTIONS -T .), in
  *,noatime,*) echo "ok - $CASE # SKIP this directory is mounted noatime" >&3; exit 0 ;;
esac
other_times() { stat -c '%y %z %s %a' "$1"; }
# moves WHAT FILE COMMAND...: after a change the command moves the access time, and does so once.
moves() {
  local what=$1 file=$2 before after others; shift 2
  need touch -h -a -d 2001-01-01 "$file"
  others=$(other_times "$file")
  need "$@" > /dev/null
  check "$what moves it" test "$(stat -c %X "$file")" -gt 1000000000
  same "$what changes nothing else" "$others" "$(other_times "$file")"
  before=$(stat -c %x "$file")
  need "$@" > /dev/null
  after=$(stat -c %x "$file")
  # Within the tick of its change a local file's access time counts as old once more.
  [ "$before" = "$after" ] || { before=$after; need "$@" > /dev/null; after=$(stat -c %x "$file"); }
  same "$what once more does not" "$before" "$after"
}
# stays WHAT FILE COMMAND...: the command leaves an access time that is due.
stays() {
  local what=$1 file=$2; shift 2
  need touch -h -a -d 2001-01-01 "$file"
  need "$@" > /dev/null
  same "$what does not move it" 978 "$(stat -c %X "$file" | cut -c1-3)"
}
made() { head -c "$1" /dev/zero > "$2"; }
for size in 0 5 4096 8192 1048576 3000000; do
  need made $size f
  moves "reading a file of $size bytes" f cat f
  need chmod 600 f
  moves "reading it after its mode was changed" f cat f
done
for size in 5 8192 100000; do
  need made $size f
  moves "reading the middle of $size bytes" f dd if=f bs=1 skip=$((size / 2)) count=1 status=none
done
stays "stat" f stat f
stays "appending" f sh -c 'echo x >> f'
stays "opening it and reading nothing" f sh -c ': < f'
stays "reading it without being seen (O_NOATIME)" f dd if=f iflag=noatime of=/dev/null status=none
moves "copying it" f cp f g
moves "comparing it" f cmp f g
need cp /bin/true program
moves "running it" program ./program
mkdir d; touch d/x
moves "listing a directory" d ls d
stays "using a name in it" d stat d/x
need chmod 700 d
moves "listing it after its mode was changed" d ls d
touch d/y
moves "listing it after a name came" d ls d
ln -s d l
moves "reading a link" l readlink l
stays "asking what it is" l stat -c %F l
moves "following it" l stat l/x
need mv l m
moves "reading it after it was moved" m readlink m
