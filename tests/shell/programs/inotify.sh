# An editor's watch: inotify tells of what is done on the same mount.
skip_without inotifywait
mkdir d; echo one > d/file
begin watch exec inotifywait -m -q --format '%e %f' d
# It says nothing once it watches, so a file is made until it has told of one.
told_of() { grep -qx -- "$1" "$(output_of watch)"; }
touched() { touch d/ready; told_of "CREATE ready"  || { rm d/ready; false; }; }
need wait_until 10 touched
hears() { check "$1" wait_until 5 told_of "$2"; } # WHAT LINE
echo two >> d/file; hears "a change" "MODIFY file"
hears "the close of who changed it" "CLOSE_WRITE,CLOSE file"
chmod 600 d/file; hears "a mode" "ATTRIB file"
echo three > d/new && mv d/new d/file
hears "a file put in the place of another" "MOVED_FROM new"
hears "under its name" "MOVED_TO file"
mkdir d/sub; hears "a directory" "CREATE,ISDIR sub"
ln d/file d/hard; hears "a link" "CREATE hard"
rm d/hard; hears "a removal" "DELETE hard"
cat d/file > /dev/null; hears "a read" "ACCESS file"
tell watch
finish watch || :
# A program that reads on when told, as tail does.
echo first > log
begin tail exec tail -n +1 -F log
need wait_until 10 lines_at_least "$(output_of tail)" 1
mv log log.1; echo second > log
check "tail -F follows the name to a new file" wait_until 10 lines_at_least "$(output_of tail)" 2
tell tail
