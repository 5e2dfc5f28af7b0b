# touch, and what changes which time.
check "times come back to the nanosecond, before 1970 and after 2106 too" probe times exact
check "the first and the last that there are do no harm" probe extreme-times extreme
touch -d '2001-01-01' f
before=$(stat -c %Z f)
same "touch -d sets" 2001-01-01 "$(date -d "@$(stat -c %Y f)" +%F)"
echo x > f
check "writing sets mtime to now" test "$(stat -c %Y f)" -ge "$before"
mkdir d; touch -d '2001-01-01' d
touch d/new
check "a new name sets its directory's mtime" test "$(stat -c %Y d)" -ge "$before"
touch -d '2001-01-01' g; chmod 600 g
same "chmod does not touch mtime" 2001 "$(date -d "@$(stat -c %Y g)" +%Y)"
check "but ctime" test "$(stat -c %Z g)" -ge "$before"
