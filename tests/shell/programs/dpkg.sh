# dpkg: a package built of an installed one's files, unpacked, and installed into a root of its own, with the renames
# and syncs that it does for that; then a newer one over it.
skip_without dpkg-deb
mkdir -p made/DEBIAN root/var/lib/dpkg/{info,updates}
: > root/var/lib/dpkg/status
# Not what the machine keeps back of its packages (documents, translations), and not beyond what the case needs.
dpkg -L dpkg | while IFS= read -r file; do [ -f "$file" ] && echo "${file#/}"; done > list
need test "$(wc -l < list)" -gt 20
need tar -C / -chf files.tar -T list
need tar -C made -xf files.tar
ln -s dpkg made/usr/bin/dpkg-link
build() { # VERSION
  printf 'Package: case\nVersion: %s\nArchitecture: all\nMaintainer: c <c@c>\nDescription: case\n' "$1" > made/DEBIAN/control
  dpkg-deb -Zgzip --root-owner-group -b made "case_$1.deb"
}
check "built" build 1
check "unpacked" dpkg-deb -x case_1.deb out
rm -rf bare; cp -a made bare; rm -r bare/DEBIAN
check "all is alike" same_trees bare out
install_it() { dpkg --root="$PWD/root" --force-not-root --force-bad-path --log=/dev/null -i "$1"; }
check "installed" install_it case_1.deb
check "every file is there" same_trees bare/usr root/usr
echo newer > made/usr/bin/dpkg; rm made/usr/bin/dpkg-link
need build 2
check "a newer one over it" install_it case_2.deb
same "takes its place" newer "$(cat root/usr/bin/dpkg)"
refuse "and what is not in it goes" test -h root/usr/bin/dpkg-link
same "dpkg knows" "2 install ok installed" "$(dpkg-query --admindir=root/var/lib/dpkg -W -f '${Version} ${Status}' case)"
same "nothing is left of its work" "" "$(find root -name '*.dpkg-*' ! -path '*/var/lib/dpkg/*')"
