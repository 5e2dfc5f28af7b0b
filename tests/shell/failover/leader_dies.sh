# limit: 300
# bounds no time
# The leader of the namespace dies again and again; another takes over, names stay right.
cluster_up
mkdir "$MNT/d"
for round in 1 2 3; do
  old=$(leader)
  need test -n "$old"
  crash "$old"
  check "round $round: names change at once ($old is dead)" mkdir "$MNT/d/$round"
  new_leader() { local l; l=$(leader); [ -n "$l" ] && [ "$l" != "$old" ]; }
  check "another leads" wait_until 10 new_leader
  back "$old"
  check "$old comes back" wait_healthy 60
done
same "all names are there" "1 2 3" "$(ls "$MNT/d" | tr '\n' ' ' | sed 's/ $//')"
check "verify finds nothing wrong" verify
