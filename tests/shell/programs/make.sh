# make -j: what is older than what it is made of is made again, by times to the nanosecond.
skip_without make
mkdir in; for i in $(seq 1 40); do echo "part $i" > "in/$i"; done
cat > Makefile << 'M'
PARTS := $(patsubst in/%,out/%.o,$(wildcard in/*))
all.txt: $(PARTS)
	@cat $^ > $@.new && mv $@.new $@ && echo linked >> log
out/%.o: in/% | out
	@cp $< $@ && echo made >> log
out:
	@mkdir $@
M
check "makes all" make -s -j4
same "once" "40 made 1 linked" "$(sort log | uniq -c | sort -rn | awk '{ print $1, $2 }' | tr '\n' ' ' | sed 's/ $//')"
for _ in 1 2 3; do need make -s -j4; done
same "and nothing when nothing changed" 41 "$(wc -l < log)"
for i in 3 17 40; do
  : > log
  echo "changed $i" > "in/$i"
  check "after a change of one" make -s -j4
  same "that, and what holds it" "made linked" "$(tr '\n' ' ' < log | sed 's/ $//')"
done
check "what it makes is right" grep -qx 'changed 17' all.txt
