//! The kernel's side: decodes requests, calls the vfs, encodes replies. No opinions; whatever decides something is in
//! [`crate::vfs`]. Driven by fuser's loop threads.
//!
//! Every operation is a future. It is polled once on the loop's own thread, which is all that is needed for what is
//! cached; only what has to wait goes to the runtime, and answers from there.

pub mod convert;
pub mod errno;
mod interrupt;
pub mod options;
pub mod session;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod zeros;

use self::convert::{attr_of, kind_of, node_of, set_of};
use self::errno::errno;
use self::interrupt::interrupted;
pub use self::table::is_mounted_for;
use crate::vfs::cluster::Cluster;
use crate::vfs::stop::Stop;
use crate::vfs::tree::Stamp;
use crate::vfs::{Allocate, Caller, DirEntry, NewNode, OpenMode, Pages, Seek, Vfs};
use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use raidfs_common::attr::Attr;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::{BLOCK_BYTES, FILE_MAX_BYTES, NAME_MAX_BYTES};
use raidfs_common::namespace::{RenameMode, XattrMode};
use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

/// How long the kernel may believe names and attributes: as long as it likes, since nothing changes behind its back. (But
/// for what [`Vfs::is_guess`] says.)
const TTL: Duration = Duration::from_secs(3600);
/// Background requests (read-ahead, asynchronous direct I/O) that the kernel keeps under way.
const BACKGROUND: u16 = 256;
/// The largest request; the kernel's own limit unless its administrator raised it.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Inodes are never numbered again.
const GENERATION: Generation = Generation(0);
/// Inodes beyond those that exist which statfs calls free: there is no limit.
const INODES_FREE: u64 = 1 << 32;

/// The adapter.
pub struct Adapter<C: Cluster> {
    vfs: Vfs<C>,
    runtime: Handle,
    /// The kernel can map what is opened to be read past its pages.
    maps_direct: bool,
}

/// Who waits for an operation, by the number of the process, and what becomes of it if it takes long and that process is to be
/// ended meanwhile.
#[derive(Clone, Copy)]
enum Waits {
    /// Answered with EINTR at once, as it changes nothing; it comes to its own end unheard.
    ForAnswer(u32),
    /// Told to stop, and answered once it has: what the kernel has other programs do meanwhile would be undone by the rest
    /// of it, and what the kernel believes would be wrong.
    ForChange(u32),
    /// Left alone.
    ToTheEnd,
}

impl Waits {
    fn for_answer(request: &Request) -> Waits {
        Waits::ForAnswer(request.pid())
    }

    fn for_change(request: &Request) -> Waits {
        Waits::ForChange(request.pid())
    }

    async fn is_to_end(self) {
        match self {
            Waits::ForAnswer(pid) | Waits::ForChange(pid) => interrupted(pid).await,
            Waits::ToTheEnd => std::future::pending().await,
        }
    }
}

impl<C: Cluster> Adapter<C> {
    /// Serves `vfs`, with `runtime` for what has to wait.
    pub fn new(vfs: Vfs<C>, runtime: Handle) -> Adapter<C> {
        Adapter { vfs, runtime, maps_direct: false }
    }

    /// Runs an operation to its reply: at once if it need not wait.
    fn run<T: Send + 'static>(
        &self,
        caller: Waits,
        operation: impl Future<Output = Result<T, FsError>> + Send + 'static,
        reply: impl FnOnce(Result<T, FsError>) + Send + 'static,
    ) {
        let _entered = self.runtime.enter();
        let stop = Stop::default();
        let mut operation = Box::pin(stop.scope(operation));
        // Whatever it waits for is registered again by the runtime's own first poll.
        match operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => reply(result),
            Poll::Pending => drop(self.runtime.spawn(async move {
                tokio::select! {
                    biased;
                    result = &mut operation => reply(result),
                    () = caller.is_to_end() => match caller {
                        Waits::ForAnswer(_) => {
                            stop.tell();
                            reply(Err(FsError::Interrupted));
                            drop(operation.await);
                        }
                        Waits::ForChange(_) | Waits::ToTheEnd => {
                            stop.tell();
                            reply(operation.await);
                        }
                    }
                }
            })),
        }
    }

    fn empty(
        &self,
        caller: Waits,
        reply: ReplyEmpty,
        operation: impl Future<Output = Result<(), FsError>> + Send + 'static,
    ) {
        self.run(caller, operation, |result| match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn entry(
        &self,
        caller: Waits,
        reply: ReplyEntry,
        operation: impl Future<Output = Result<Attr, FsError>> + Send + 'static,
    ) {
        let (vfs, asked) = (self.vfs.clone(), self.vfs.moment());
        self.run(caller, operation, move |result| match result {
            Ok(attr) => reply.entry(&ttl(&vfs, &attr, asked), &attr_of(&attr), GENERATION),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn attr(
        &self,
        caller: Waits,
        reply: ReplyAttr,
        operation: impl Future<Output = Result<Attr, FsError>> + Send + 'static,
    ) {
        let (vfs, asked) = (self.vfs.clone(), self.vfs.moment());
        self.run(caller, operation, move |result| match result {
            Ok(attr) => reply.attr(&ttl(&vfs, &attr, asked), &attr_of(&attr)),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn bytes(
        &self,
        caller: Waits,
        reply: ReplyData,
        operation: impl Future<Output = Result<Bytes, FsError>> + Send + 'static,
    ) {
        self.run(caller, operation, |result| match result {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn xattr(
        &self,
        caller: Waits,
        size: u32,
        reply: ReplyXattr,
        operation: impl Future<Output = Result<Bytes, FsError>> + Send + 'static,
    ) {
        self.run(caller, operation, move |result| match result {
            Ok(value) if size == 0 => reply.size(value.len() as u32),
            Ok(value) if value.len() <= size as usize => reply.data(&value),
            Ok(_) => reply.error(errno(FsError::Range)),
            Err(error) => reply.error(errno(error)),
        });
    }
}

fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid(), umask: 0 }
}

/// One who makes something.
fn maker(request: &Request, umask: u32) -> Caller {
    Caller { umask: (umask & 0o777) as u16, ..caller(request) }
}

fn name(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

fn open_mode(flags: i32) -> OpenMode {
    let access = flags & libc::O_ACCMODE;
    OpenMode {
        // O_SYNC contains O_DSYNC; what they differ in (times) is not worth a barrier.
        sync: flags & libc::O_DSYNC != 0,
        reads: access != libc::O_WRONLY,
        writes: access != libc::O_RDONLY,
        quiet: flags & libc::O_NOATIME != 0,
    }
}

/// Where what is opened to be read past the kernel's pages could not be mapped (before Linux 6.6), it is not: an access time
/// of an empty file is worth less than the mapping once it is empty no more.
fn pages_flag(pages: Pages, maps_direct: bool) -> FopenFlags {
    match pages {
        Pages::Drop => FopenFlags::empty(),
        Pages::Bypass if maps_direct => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_DIRECT_IO,
        Pages::Keep | Pages::Bypass => FopenFlags::FOPEN_KEEP_CACHE,
    }
}

/// A file without a chance of a late error needs no flush at its close.
fn open_reply(flags: i32, pages: Pages, maps_direct: bool) -> FopenFlags {
    let pages = pages_flag(pages, maps_direct);
    if flags & libc::O_ACCMODE == libc::O_RDONLY { pages | FopenFlags::FOPEN_NOFLUSH } else { pages }
}

/// How long the kernel may believe these attributes, which were asked for then.
fn ttl<C: Cluster>(vfs: &Vfs<C>, attr: &Attr, asked: Stamp) -> Duration {
    if vfs.is_guess(attr.ino, asked) { Duration::ZERO } else { TTL }
}

/// What the kernel caches as "there is no such name".
fn no_entry() -> FileAttr {
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

impl<C: Cluster> Filesystem for Adapter<C> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Not FUSE_ASYNC_DIO: with it the kernel leaves what it has cached of a file as it was before an asynchronous write
        // with O_DIRECT (io_submit, io_uring), and reads show the old bytes from then on.
        let wanted = [
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_BIG_WRITES,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            // The kernel judges access control lists, and leaves the umask to whoever knows the default ones.
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_DONT_MASK,
            // "." and ".." are looked up by number: handles of files outlive the kernel's memory of them.
            InitFlags::FUSE_EXPORT_SUPPORT,
            // Only what is written through this mount changes a file: the kernel knows by itself.
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_ABORT_ERROR,
        ];
        for flag in wanted {
            if let Err(missing) = config.add_capabilities(flag) {
                tracing::debug!("the kernel does not offer {missing:?}");
            }
        }
        // A file that was opened while it was empty may be mapped later.
        self.maps_direct = config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP).is_ok();
        // The nearest value that is allowed, if this is not.
        let _ = config.set_max_write(WRITE_BYTES_MAX).or_else(|nearest| config.set_max_write(nearest));
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name_: &OsStr, reply: ReplyEntry) {
        let (vfs, name, asked) = (self.vfs.clone(), name(name_), self.vfs.moment());
        let looking = vfs.clone();
        let operation = async move { looking.lookup(ino(parent), &name).await };
        self.run(Waits::for_answer(request), operation, move |result| match result {
            Ok(attr) => reply.entry(&ttl(&vfs, &attr, asked), &attr_of(&attr), GENERATION),
            Err(FsError::NotFound) => reply.entry(&TTL, &no_entry(), GENERATION),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn forget(&self, _request: &Request, number: INodeNo, _lookups: u64) {
        self.vfs.let_go(ino(number));
    }

    fn getattr(&self, request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let vfs = self.vfs.clone();
        self.attr(Waits::for_answer(request), reply, async move { vfs.getattr(ino(number)).await });
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (vfs, caller) = (self.vfs.clone(), caller(request));
        let set = set_of(mode, uid, gid, size, atime, mtime);
        self.attr(Waits::for_change(request), reply, async move { vfs.setattr(caller, ino(number), set).await });
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let vfs = self.vfs.clone();
        self.bytes(Waits::for_answer(request), reply, async move { vfs.readlink(ino(number)).await });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name_: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some(new) = node_of(mode, rdev) else { return reply.error(errno(FsError::Invalid)) };
        let (vfs, caller, name) = (self.vfs.clone(), maker(request, umask), name(name_));
        self.entry(Waits::for_change(request), reply, async move { vfs.make(caller, ino(parent), &name, new).await });
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name_: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let (vfs, caller, name) = (self.vfs.clone(), maker(request, umask), name(name_));
        let new = NewNode::dir((mode & 0o7777) as u16);
        self.entry(Waits::for_change(request), reply, async move { vfs.make(caller, ino(parent), &name, new).await });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name_: &OsStr, reply: ReplyEmpty) {
        let (vfs, name) = (self.vfs.clone(), name(name_));
        self.empty(Waits::for_change(request), reply, async move { vfs.unlink(ino(parent), &name).await });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name_: &OsStr, reply: ReplyEmpty) {
        let (vfs, name) = (self.vfs.clone(), name(name_));
        self.empty(Waits::for_change(request), reply, async move { vfs.rmdir(ino(parent), &name).await });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, link: &OsStr, target: &Path, reply: ReplyEntry) {
        let (vfs, caller, name) = (self.vfs.clone(), caller(request), name(link));
        let new = NewNode::symlink(Bytes::copy_from_slice(target.as_os_str().as_bytes()));
        self.entry(Waits::for_change(request), reply, async move { vfs.make(caller, ino(parent), &name, new).await });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name_: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            f if f == RenameFlags::empty() => RenameMode::Replace,
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            _ => return reply.error(errno(FsError::Invalid)),
        };
        let (vfs, name, new_name) = (self.vfs.clone(), name(name_), name(new_name));
        self.empty(Waits::for_change(request), reply, async move {
            vfs.rename(ino(parent), &name, ino(new_parent), &new_name, mode).await
        });
    }

    fn link(&self, request: &Request, number: INodeNo, parent: INodeNo, name_: &OsStr, reply: ReplyEntry) {
        let (vfs, name) = (self.vfs.clone(), name(name_));
        self.entry(Waits::for_change(request), reply, async move { vfs.link(ino(number), ino(parent), &name).await });
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (vfs, maps_direct) = (self.vfs.clone(), self.maps_direct);
        // A handle that nobody learns of would never be closed.
        let operation = async move {
            let handle = vfs.open(ino(number), open_mode(flags.0)).await?;
            Ok((handle, vfs.pages(handle).await))
        };
        self.run(Waits::ToTheEnd, operation, move |result| match result {
            Ok((handle, pages)) => reply.opened(FileHandle(handle), open_reply(flags.0, pages, maps_direct)),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn read(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let vfs = self.vfs.clone();
        self.bytes(Waits::for_answer(request), reply, async move { vfs.read(handle.0, offset, size).await });
    }

    fn write(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let strip_ids = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        // As on a local disk, what fits below the largest size is written, and the caller told how much that is.
        let fits = FILE_MAX_BYTES.saturating_sub(offset).min(data.len() as u64) as usize;
        let data = if fits > 0 { &data[..fits] } else { data };
        let length = data.len() as u32;
        let answer = move |result: Result<(), FsError>, reply: ReplyWrite| match result {
            Ok(()) => reply.written(length),
            Err(error) => reply.error(errno(error)),
        };
        if let Some(result) = self.vfs.write_now(handle.0, offset, data, strip_ids) {
            return answer(result, reply);
        }
        let (vfs, data) = (self.vfs.clone(), Bytes::copy_from_slice(data));
        let caller = strip_ids.then(|| caller(request));
        let operation = async move { vfs.write(handle.0, offset, &data, caller).await };
        self.run(Waits::for_change(request), operation, move |result| answer(result, reply));
    }

    fn flush(&self, _request: &Request, _number: INodeNo, handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        match self.vfs.flush(handle.0) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn release(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let vfs = self.vfs.clone();
        self.empty(Waits::for_answer(request), reply, async move { vfs.release(handle.0) });
    }

    fn fsync(&self, request: &Request, _number: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let vfs = self.vfs.clone();
        self.empty(Waits::for_answer(request), reply, async move { vfs.fsync(handle.0).await });
    }

    fn opendir(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (vfs, maps_direct) = (self.vfs.clone(), self.maps_direct);
        let operation = async move {
            let handle = vfs.opendir(ino(number), open_mode(flags.0)).await?;
            Ok((handle, vfs.pages(handle).await))
        };
        self.run(Waits::ToTheEnd, operation, move |result| match result {
            Ok((handle, pages)) => {
                reply.opened(FileHandle(handle), pages_flag(pages, maps_direct) | FopenFlags::FOPEN_CACHE_DIR);
            }
            Err(error) => reply.error(errno(error)),
        });
    }

    fn readdir(&self, _request: &Request, _number: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let vfs = self.vfs.clone();
        let operation = async move {
            let mut reply = reply;
            let add = |entry: DirEntry| {
                let (node, kind) = (INodeNo(entry.ino.0), kind_of(entry.kind));
                reply.add(node, entry.next, kind, OsStr::from_bytes(&entry.name))
            };
            let result = vfs.readdir(handle.0, offset, false, add).await;
            Ok((reply, result))
        };
        self.run(Waits::ToTheEnd, operation, |done| match done {
            Ok((reply, Ok(()))) => reply.ok(),
            Ok((reply, Err(error))) => reply.error(errno(error)),
            // The reply has gone with the operation, and has answered with an error by itself.
            Err(_) => {}
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let (vfs, asked) = (self.vfs.clone(), self.vfs.moment());
        let operation = async move {
            let mut reply = reply;
            let add = |entry: DirEntry| {
                let node = INodeNo(entry.ino.0);
                // `.` and `..` come without attributes; the kernel makes nothing of them.
                let attr = match &entry.attr {
                    Some(attr) => attr_of(attr),
                    None => FileAttr { ino: node, kind: kind_of(entry.kind), ..no_entry() },
                };
                let ttl = entry.attr.as_ref().map_or(TTL, |attr| ttl(&vfs, attr, asked));
                reply.add(node, entry.next, OsStr::from_bytes(&entry.name), &ttl, &attr, GENERATION)
            };
            let result = vfs.readdir(handle.0, offset, true, add).await;
            Ok((reply, result))
        };
        self.run(Waits::ToTheEnd, operation, |done| match done {
            Ok((reply, Ok(()))) => reply.ok(),
            Ok((reply, Err(error))) => reply.error(errno(error)),
            Err(_) => {}
        });
    }

    fn releasedir(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let vfs = self.vfs.clone();
        self.empty(Waits::for_answer(request), reply, async move { vfs.release(handle.0) });
    }

    fn fsyncdir(&self, request: &Request, _number: INodeNo, handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        let vfs = self.vfs.clone();
        self.empty(Waits::for_answer(request), reply, async move { vfs.fsyncdir(handle.0).await });
    }

    fn statfs(&self, request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        let vfs = self.vfs.clone();
        self.run(Waits::for_answer(request), async move { vfs.totals().await }, |result| match result {
            Ok(totals) => {
                let (total, free) = (totals.total / BLOCK_BYTES, totals.free / BLOCK_BYTES);
                let block = BLOCK_BYTES as u32;
                let files = totals.inodes + INODES_FREE;
                reply.statfs(total, free, free, files, INODES_FREE, block, NAME_MAX_BYTES as u32, block);
            }
            Err(error) => reply.error(errno(error)),
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name_: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (vfs, name, value) = (self.vfs.clone(), name(name_), value.to_vec());
        let mode = match flags {
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            0 => XattrMode::Any,
            _ => {
                return self.empty(Waits::for_change(request), reply, async move {
                    vfs.refuse_setxattr(ino(number), &name).await
                });
            }
        };
        let caller = caller(request);
        self.empty(Waits::for_change(request), reply, async move {
            vfs.setxattr(caller, ino(number), &name, &value, mode).await
        });
    }

    fn getxattr(&self, request: &Request, number: INodeNo, name_: &OsStr, size: u32, reply: ReplyXattr) {
        let (vfs, name) = (self.vfs.clone(), name(name_));
        self.xattr(Waits::for_answer(request), size, reply, async move { vfs.getxattr(ino(number), &name).await });
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let (vfs, caller) = (self.vfs.clone(), caller(request));
        self.xattr(Waits::for_answer(request), size, reply, async move {
            vfs.listxattr(caller, ino(number)).await.map(Bytes::from)
        });
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name_: &OsStr, reply: ReplyEmpty) {
        let (vfs, caller, name) = (self.vfs.clone(), caller(request), name(name_));
        self.empty(Waits::for_change(request), reply, async move { vfs.removexattr(caller, ino(number), &name).await });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name_: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (vfs, caller, name) = (self.vfs.clone(), maker(request, umask), name(name_));
        let (asked, making, maps_direct) = (vfs.moment(), vfs.clone(), self.maps_direct);
        let operation = async move {
            let (perm, exclusive) = ((mode & 0o7777) as u16, flags & libc::O_EXCL != 0);
            let (attr, handle) = making.create(caller, ino(parent), &name, perm, exclusive, open_mode(flags)).await?;
            Ok((attr, handle, making.pages(handle).await))
        };
        self.run(Waits::ToTheEnd, operation, move |result| match result {
            Ok((attr, handle, pages)) => {
                let flags = open_reply(flags, pages, maps_direct);
                reply.created(&ttl(&vfs, &attr, asked), &attr_of(&attr), GENERATION, FileHandle(handle), flags);
            }
            Err(error) => reply.error(errno(error)),
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let what = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => Allocate::Reserve,
            libc::FALLOC_FL_PUNCH_HOLE if keep_size => Allocate::Punch,
            libc::FALLOC_FL_ZERO_RANGE => Allocate::Zero,
            _ => return reply.error(errno(FsError::NotSupported)),
        };
        let Some(end) = offset.checked_add(length) else { return reply.error(errno(FsError::TooBig)) };
        let (vfs, caller) = (self.vfs.clone(), caller(request));
        self.empty(Waits::for_change(request), reply, async move {
            vfs.allocate(caller, handle.0, offset..end, what, keep_size).await
        });
    }

    fn lseek(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let what = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return reply.error(errno(FsError::Invalid)),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(errno(FsError::NoAddress)) };
        let vfs = self.vfs.clone();
        self.run(Waits::for_answer(request), async move { vfs.seek(handle.0, offset, what).await }, |result| {
            match result {
                Ok(at) => reply.offset(at as i64),
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _from: INodeNo,
        from_handle: FileHandle,
        from_offset: u64,
        _to: INodeNo,
        to_handle: FileHandle,
        to_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The reply counts in 32 bits; whoever copies more asks again.
        const COPY_MAX: u64 = 1 << 30;
        let (vfs, caller) = (self.vfs.clone(), caller(request));
        let operation = async move {
            let (from, to) = ((from_handle.0, from_offset), (to_handle.0, to_offset));
            vfs.copy(caller, from, to, length.min(COPY_MAX)).await
        };
        self.run(Waits::for_change(request), operation, |result| match result {
            Ok(count) => reply.written(count as u32),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: fuser::IoctlFlags,
        _command: u32,
        _data: &[u8],
        _out_size: u32,
        reply: fuser::ReplyIoctl,
    ) {
        reply.error(errno(FsError::NoRequest));
    }
}
