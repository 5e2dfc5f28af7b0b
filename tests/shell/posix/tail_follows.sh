# tail -f sees what is appended.
echo first > log
begin tail exec tail -n +1 -f log
need wait_until 10 lines_at_least "$(output_of tail)" 1
echo second >> log
check "a line that is appended is seen" wait_until 10 lines_at_least "$(output_of tail)" 2
echo third >> log
check "and the next" wait_until 10 lines_at_least "$(output_of tail)" 3
same "in order" "first second third" "$(tr '\n' ' ' < "$(output_of tail)" | sed 's/ $//')"
tell tail
