# limit: 3600
# only when asked
# 1,000,000 files in 1,000 directories: memory stays bounded, and nothing gets slower than it was with 10,000.
cluster_up
fill() { mkdir "$1" && (cd "$1" && for f in $(seq 1 1000); do : > "$f"; done); }
ms() { local from=${EPOCHREALTIME/./}; "$@" > /dev/null || return; echo $(((${EPOCHREALTIME/./} - from) / 1000)); }
median() { sort -n | sed -n 6p; } # of ten
# Of a mount that has nothing cached: how long ten directories take to be read, with attributes. Before it is mounted anew,
# the memory of the mountd that made the files is looked at, which ends with it.
look() {
  within "mountd that made files: under 300 MiB at most ($(most_mib mountd))" 1 299 "$(most_mib mountd)"
  need r stop mountd; need r start mountd
  local d
  for d in "$@"; do ms ls -l "$MNT/$d"; done | median > "$CASE_DIR/ls"
  for d in "$@"; do ms find "$MNT/$d" -newer /proc/1; done | median > "$CASE_DIR/find"
  echo "ls -l of 1,000 files: $(cat "$CASE_DIR/ls") ms, find: $(cat "$CASE_DIR/find") ms" >&3
}

for d in $(seq 1 10); do ms fill "$MNT/$d"; done | median > "$CASE_DIR/made"
made_first=$(cat "$CASE_DIR/made")
look $(seq 1 10)
ls_first=$(cat "$CASE_DIR/ls") find_first=$(cat "$CASE_DIR/find")
for d in $(seq 11 990); do need fill "$MNT/$d"; done
for d in $(seq 991 1000); do ms fill "$MNT/$d"; done | median > "$CASE_DIR/made"
made_last=$(cat "$CASE_DIR/made")
look $(seq 400 409)
ls_last=$(cat "$CASE_DIR/ls") find_last=$(cat "$CASE_DIR/find")
# A few milliseconds of a shared machine's are no slowness.
slack() { echo $(($1 * 3 / 2 + 5)); }
within "1,000 files more are made within 1.5 times ($made_first ms at first, $made_last ms)" 0 "$(slack "$made_first")" "$made_last"
within "ls -l, nothing cached, within 1.5 times ($ls_first ms, $ls_last ms)" 0 "$(slack "$ls_first")" "$ls_last"
within "find, nothing cached, within 1.5 times ($find_first ms, $find_last ms)" 0 "$(slack "$find_first")" "$find_last"
same "all are there" 1001001 "$(find "$MNT" | wc -l)"
within "mountd that read them all: under 300 MiB at most ($(most_mib mountd))" 1 299 "$(most_mib mountd)"
for n in 1 2 3 4; do within "fsd$n under 700 MiB ($(most_mib fsd$n))" 1 699 "$(most_mib fsd$n)"; done
du -sm "$DIR"/data/* | sed "s|$DIR/data/|MiB on the disk of |" >&3
check "verify finds nothing wrong" verify
