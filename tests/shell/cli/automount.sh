# limit: 60
# An automounter (autofs, or systemd with x-systemd.automount in fstab) mounts raidfs when somebody opens its directory.
skip_without python3
grep -qw autofs /proc/filesystems || skip autofs
cluster_up
echo kept > "$MNT/f"
need r stop mountd
need mkdir "$CASE_DIR/auto"
cat > "$CASE_DIR/automounter.py" << 'END'
import ctypes, fcntl, os, struct, subprocess, sys
# Like automount(8), as Documentation/filesystems/autofs.rst of Linux has it: a direct mount, protocol 5.
at, mount = sys.argv[1], sys.argv[2:]
os.setpgid(0, 0)
libc = ctypes.CDLL(None, use_errno=True)
events, kernel = os.pipe()
data = f"fd={kernel},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
if libc.mount(b"auto", at.encode(), b"autofs", 0, data.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
os.close(kernel)
root = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
print("waits", flush=True)
packet = os.read(events, 304)
token = struct.unpack_from("=iiI", packet)[2]
print("asked", flush=True)
done = subprocess.run(mount).returncode
AUTOFS_IOC_READY, AUTOFS_IOC_FAIL = 0x9360, 0x9361
fcntl.ioctl(root, AUTOFS_IOC_FAIL if done else AUTOFS_IOC_READY, token)
print(f"mounted {done}", flush=True)
os.close(root)
while os.read(events, 304): pass
END
begin automounter env PATH="$BIN:$PATH" python3 -u "$CASE_DIR/automounter.py" "$CASE_DIR/auto" \
  sh "$LIB/../../../packaging/mount.raidfs" "$DIR/raidfs.toml" "$CASE_DIR/auto" -o "log=$CASE_DIR/mount.log"
asks() { grep -q "^waits" "$(output_of automounter)"; }
need wait_until 10 asks
check "who opens the directory gets the store" sh -c 'timeout 40 setsid cat "$1" | grep -qx kept' - "$CASE_DIR/auto/f"
same "as the automounter had it mounted" "waits asked mounted 0" "$(tr '\n' ' ' < "$(output_of automounter)" | sed 's/ $//')"
check "it can be written to" touch "$CASE_DIR/auto/g"
check "and unmounted" umount "$CASE_DIR/auto"
umount -l "$CASE_DIR/auto"
tell automounter
finish automounter
