# A tree of everything that a file system can hold, and the comparison of two such trees in everything that can be told.

# varied_tree DIR: makes it.
varied_tree() {
  local i
  need mkdir -p "$1"
  (
    cd "$1" && mkdir -p plain deep/er/est links special "odd names" lists/inherited bare || exit 1
    for i in $(seq 60); do head -c $((i * 211)) /dev/urandom > "plain/$i"; done
    : > plain/empty
    # Holes: at the beginning, in the middle, at the end.
    truncate -s 9M sparse && dd if=/dev/urandom of=sparse bs=4096 seek=1200 count=2 conv=notrunc status=none || exit 1
    # Names of a file, in other directories, too; of a link and a fifo.
    ln plain/2 links/hard && ln plain/2 deep/er/est/hard && ln plain/3 plain/3again || exit 1
    ln -s ../plain/1 links/relative && ln -s /nonexistent/$'\xff' links/nowhere && ln links/relative links/relative2 || exit 1
    mkfifo special/fifo && mkfifo -m 604 special/other || exit 1
    mknod special/null c 1 3 && mknod special/large c 4000 70000 && mknod special/disk b 250 7 || exit 1
    for i in $'no UTF-8 \xff\xfe\x80' $'two\nlines' ' blanks ' '-rf' '*' '\' '"quoted"' $'\e[31mred' "$(printf 'n%.0s' $(seq 255))"; do
      echo "$i" > "odd names/$i" && mkdir "bare/$i" && ln -s "$i" "links/to $(cksum <<< "$i")" || exit 1
    done
    chown 12:34 plain/4 special/fifo deep/er && chown -h 12:34 links/nowhere && chown 70000:4000000000 plain/5 || exit 1
    chmod 4755 plain/4 && chmod 2711 plain/6 && chmod 6750 plain/7 && chmod 0 plain/8 && chmod 640 special/null || exit 1
    chmod 3777 bare && chmod 2750 deep/er && chmod 500 deep/er/est || exit 1
    varied_attributes && varied_lists || exit 1
    # The last thing: everything else moves them. A second of its own, and a nanosecond.
    find . -depth -print0 | while IFS= read -rd '' i; do touch -h -d "@$((1500000000 + $(cksum <<< "$i" | cut -d' ' -f1) % 90000000)).$RANDOM${#i}" "$i"; done
    touch -d '1969-12-31 23:59:58.123456789' plain/9 && touch -d '2107-01-01 00:00:00.000000001' plain/10
  )
}
varied_attributes() {
  local i
  for i in $(seq 20 40); do setfattr -n user.number -v "$i" "plain/$i" || return 1; done
  setfattr -n user.of -v "a directory" deep/er && setfattr -n user.raw -v 0x00ff0a0d22 plain/7 || return 1
  setfattr -n user.empty plain/11 && setfattr -n user.long -v "$(head -c 2200 /dev/urandom | base64 -w0 | head -c 2800)" plain/12 || return 1
  setfattr -n trusted.secret -v t plain/13 && setfattr -n trusted.of -v d bare && setfattr -h -n trusted.link -v l links/nowhere || return 1
  setfattr -n trusted.fifo -v f special/fifo && setfattr -n security.own -v s plain/14 || return 1
  setcap cap_net_raw,cap_chown+ep plain/15 && chmod 755 plain/16 && setcap cap_net_bind_service=ep plain/16
}
varied_lists() {
  setfacl -m u:12:rw,g:34:r,m::rw plain/17 plain/18 && setfacl -m u:4000000000:rwx,m::r plain/18 || return 1
  setfacl -m u:12:rx special/fifo special/null && setfacl -d -m u:12:rwx,g:34:rx,o::- lists && setfacl -m g:35:wx lists || return 1
  echo inherits > lists/new && mkdir lists/sub && echo inherits > lists/sub/new && setfacl -k lists/inherited
}

# all_of DIR: everything that can be told of what is in it, but its bytes: kinds, modes, owners, times, names of one inode,
# numbers of devices, lengths, targets, extended attributes and access control lists.
all_of() {
  (
    cd "$1" || exit 1
    export LC_ALL=C
    find . \( -type d -printf '%p %y %m %U:%G %n %T@\0' \) -o -printf '%p %y %m %U:%G %n %T@ %s %l\0' | sort -z | tr '\0' '\n'
    # The names of each inode that has several.
    find . ! -type d -links +1 -printf '%i %p\0' | sort -z |
      awk 'BEGIN { RS = "\0" } { i = $1; sub(/^[0-9]+ /, ""); all[i] = all[i] " = " $0 } END { for (i in all) print all[i] }' | sort
    find . \( -type c -o -type b \) -print0 | sort -z | xargs -0r stat -c '%n %t:%T'
    find . -print0 | sort -z | xargs -0r getfattr -h -d -m - -e hex 2> /dev/null
    find . ! -type l -print0 | sort -z | xargs -0r getfacl -n -p
  )
}

# nothing_differs WHAT A B: neither bytes nor anything else.
nothing_differs() {
  local what=$1 from=$2 to=$3
  check "$what: nothing that can be told of them differs" diff -a <(all_of "$from") <(all_of "$to")
  check "$what: nor a byte" diff <(cd "$from" && bytes_of) <(cd "$to" && bytes_of)
}
bytes_of() { find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum; }
