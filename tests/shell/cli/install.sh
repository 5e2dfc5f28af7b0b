# limit: 60
# make install puts programs, units, mount helper and completion where a package would, with no place left open in them, and
# make uninstall leaves nothing.
root=$LIB/../../..
stage=$CASE_DIR/stage
install() { "$root/packaging/install" "$@" "$BIN" "$stage" /usr /usr/sbin /etc; }
need mkdir "$stage"
check "installs below DESTDIR" install
check "all there is" diff - <(cd "$stage" && find . ! -type d | sort) << 'END'
./usr/bin/fsd
./usr/bin/mountd
./usr/bin/raidfs
./usr/lib/systemd/system/fsd-witness.service
./usr/lib/systemd/system/fsd@.service
./usr/lib/systemd/system/mountd.service
./usr/sbin/mount.fuse.raidfs
./usr/sbin/mount.raidfs
./usr/sbin/umount.fuse.raidfs
./usr/share/bash-completion/completions/raidfs
./usr/share/doc/raidfs/raidfs.toml.example
END
check "and the place of the configuration" test -d "$stage/etc/raidfs"
refuse "no place is left open" grep -rn "@PREFIX@" "$stage"
for program in fsd mountd raidfs; do check "$program runs from there" "$stage/usr/bin/$program" --version; done
for helper in mount.raidfs mount.fuse.raidfs umount.fuse.raidfs; do
  check "$helper is a script that a shell reads" sh -n "$stage/usr/sbin/$helper"
done
check "so is the completion" bash -n "$stage/usr/share/bash-completion/completions/raidfs"
# The example is one that the programs take.
check "the example is a configuration" grep -qE "^cluster = " "$stage/usr/share/doc/raidfs/raidfs.toml.example"
refuse "with it status finds nobody, and no mistake" \
  grep -qiE "cannot read|unknown|invalid" <("$stage/usr/bin/raidfs" status --config "$stage/usr/share/doc/raidfs/raidfs.toml.example" 2>&1)
if command -v systemd-analyze > /dev/null; then
  units() { # what systemd has to say of them, the programs being where they will be
    systemd-analyze verify --root="$stage" --man=no fsd@1.service fsd-witness.service mountd.service 2>&1 | grep -E "raidfs|fsd|mountd" |
      grep -vE "Failed to create|Unit .* not found|not executable"
  }
  same "systemd finds nothing wrong with the units" "" "$(units)"
else
  echo "ok - $CASE: systemd-analyze # SKIP systemd-analyze is not installed" >&3
fi
check "installs over itself" install
touch "$stage/etc/raidfs/raidfs.toml"
check "uninstalls" install --remove
same "what an operator has written stays, and nothing else" ./etc/raidfs/raidfs.toml "$(cd "$stage" && find . ! -type d)"
