# Pipes, sockets and devices.
check "a pipe is made" mkfifo p
(echo through > p) & same "and carries bytes" through "$(cat p)"
check "a device is made" mknod null c 1 3
same "with its number" "1 3" "$(stat -c '%t %T' null | sed 's/^0*//')"
same "its kind is shown" "character special file" "$(stat -c %F null)"
check "they are taken away" rm p null
