//! Single files: held open after unlink, appended to by many, full of holes.

use super::{Found, demand, listen, told_to_end, tried};
use crate::wait;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Asks for the size of a block; the C library has no name for it.
const FIGETBSZ: u64 = 2;
/// What statfs calls a FUSE file system.
const FUSE_MAGIC: i64 = 0x6573_5546;

/// Appends lines, each with one write; several of these at once must not overwrite each other's.
pub fn append(file: &str, lines: usize, word: &str) -> Found {
    let mut out = tried(file, OpenOptions::new().append(true).create(true).open(file))?;
    for n in 0..lines {
        tried("append", out.write_all(format!("{word} {n}\n").as_bytes()))?;
    }
    Ok(())
}

/// A new, empty file, to be read and written.
pub fn fresh(file: &str) -> Result<File, String> {
    tried(file, OpenOptions::new().read(true).write(true).create(true).truncate(true).open(file))
}

/// A file that was unlinked while open is as good as any until it is closed.
pub fn unlinked(file: &str) -> Found {
    let f = fresh(file)?;
    tried("write", f.write_all_at(b"before", 0))?;
    tried("unlink", fs::remove_file(file))?;
    demand(!Path::new(file).exists(), "its name is still there")?;
    tried("write", f.write_all_at(b"after", 6))?;
    tried("fsync", f.sync_all())?;
    let mut text = [0; 11];
    tried("read", f.read_exact_at(&mut text, 0))?;
    demand(&text == b"beforeafter", format!("it holds {text:?}"))?;
    let meta = tried("fstat", f.metadata())?;
    demand(meta.nlink() == 0, format!("it has {} links", meta.nlink()))?;
    demand(meta.len() == 11, format!("it is {} bytes long", meta.len()))?;
    tried("truncate", f.set_len(3))?;
    let length = tried("fstat", f.metadata())?.len();
    demand(length == 3, format!("cut to 3, it is {length} bytes long"))
}

/// Opens and unlinks a file, says `ready`, and when told to end reads the file whole.
pub fn held(file: &str) -> Found {
    listen();
    let mut f = tried(file, File::open(file))?;
    let length = tried("fstat", f.metadata())?.len();
    tried("unlink", fs::remove_file(file))?;
    println!("ready");
    demand(wait::until(Duration::from_secs(600), told_to_end), "nobody told it to end")?;
    let mut text = Vec::new();
    tried("read", f.read_to_end(&mut text))?;
    demand(text.len() as u64 == length, format!("{} of {length} bytes are left", text.len()))
}

/// Where lseek goes.
pub fn seek(f: &File, from: i64, whence: i32) -> Result<i64, String> {
    // SAFETY: only moves the offset of an open file.
    let at = unsafe { libc::lseek(f.as_raw_fd(), from, whence) };
    if at < 0 { Err(format!("lseek: {}", std::io::Error::last_os_error())) } else { Ok(at) }
}

/// A file with data at 1 MiB and at 9 MiB: holes read as zeros, take no room, and are found by lseek.
pub fn holes(file: &str) -> Found {
    const MIB: i64 = 1 << 20;
    let mut f = fresh(file)?;
    tried("write", f.write_all_at(&[1; 4096], MIB as u64))?;
    tried("write", f.write_all_at(&[2; 4096], 9 * MIB as u64))?;
    tried("fsync", f.sync_all())?;
    let meta = tried("fstat", f.metadata())?;
    demand(meta.len() == 9 * MIB as u64 + 4096, format!("it is {} bytes long", meta.len()))?;
    demand(meta.blocks() <= 256, format!("two blocks of data take {} blocks of 512 bytes", meta.blocks()))?;
    let data = seek(&f, 0, libc::SEEK_DATA)?;
    demand(data > 0 && data <= MIB, format!("the first data is said to be at {data}"))?;
    let hole = seek(&f, MIB, libc::SEEK_HOLE)?;
    demand(hole > MIB && hole < 9 * MIB, format!("the hole is said to begin at {hole}"))?;
    let data = seek(&f, hole, libc::SEEK_DATA)?;
    demand(data > hole && data <= 9 * MIB, format!("the second data is said to be at {data}"))?;
    let mut all = Vec::new();
    tried("rewind", f.seek(SeekFrom::Start(0)))?;
    tried("read", f.read_to_end(&mut all))?;
    let sum: u64 = all.iter().map(|&b| u64::from(b)).sum();
    demand(sum == 4096 + 2 * 4096, format!("the sum of its bytes is {sum}"))
}

/// In a file of a TiB that is almost nothing but a hole, data are found, and cut out, without looking everywhere.
pub fn vast(file: &str) -> Found {
    const TIB: i64 = 1 << 40;
    const AT: i64 = 700 << 30;
    let begun = Instant::now();
    let f = fresh(file)?;
    tried("write", f.write_all_at(&[1; 4096], AT as u64))?;
    tried("write", f.write_all_at(&[2; 4096], TIB as u64 - 4096))?;
    tried("fsync", f.sync_all())?;
    for (from, to) in [(0, AT), (AT + 4096, TIB - 4096)] {
        let data = seek(&f, from, libc::SEEK_DATA)?;
        demand(data == to, format!("the first data from {from} on is said to be at {data}"))?;
    }
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: only changes an open file.
    let done = unsafe { libc::fallocate(f.as_raw_fd(), mode, 0, TIB) };
    demand(done == 0, format!("fallocate: {}", std::io::Error::last_os_error()))?;
    let blocks = tried("fstat", f.metadata())?.blocks();
    demand(blocks == 0, format!("{blocks} blocks are left"))?;
    demand(seek(&f, 0, libc::SEEK_DATA).is_err(), "there is still data")?;
    demand(begun.elapsed() < Duration::from_secs(15), format!("it took {:?}", begun.elapsed()))
}

/// Finds out how long a file may be; a write across that ends there, and one behind it is refused.
pub fn largest(file: &str) -> Found {
    let f = fresh(file)?;
    let (mut fits, mut too_long) = (1u64 << 30, 1u64 << 63);
    while too_long - fits > 1 {
        let middle = fits + (too_long - fits) / 2;
        match f.set_len(middle) {
            Ok(()) => fits = middle,
            Err(_) => too_long = middle,
        }
    }
    if fits == i64::MAX as u64 {
        println!("a file may be as long as an offset can say");
        return Ok(());
    }
    println!("largest={fits}");
    tried("cut", f.set_len(0))?;
    let written = tried("write across it", f.write_at(&[1; 8], fits - 4))?;
    demand(written == 4, format!("{written} bytes were written where 4 fit"))?;
    let length = tried("fstat", f.metadata())?.len();
    demand(length == fits, format!("it is {length} bytes long"))?;
    let error = f.write_at(&[1; 8], fits).err().and_then(|e| e.raw_os_error());
    demand(error == Some(libc::EFBIG), format!("a write behind it ended with {error:?}"))?;
    let mut end = [0; 8];
    let read = tried("read", f.read_at(&mut end, fits - 6))?;
    demand(end[..read] == [0, 0, 1, 1, 1, 1], format!("it ends with {:?}", &end[..read]))
}

/// fallocate makes holes in the middle, and reserves behind the end without changing the length.
pub fn punch(file: &str) -> Found {
    let f = fresh(file)?;
    tried("write", f.write_all_at(&[7; 65_536], 0))?;
    let allocate = |mode: i32, offset: i64, length: i64| {
        // SAFETY: only changes an open file.
        let done = unsafe { libc::fallocate(f.as_raw_fd(), mode, offset, length) };
        demand(done == 0, format!("fallocate {mode}: {}", std::io::Error::last_os_error()))
    };
    allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 8192, 16_384)?;
    let mut text = vec![0; 65_536];
    tried("read", f.read_exact_at(&mut text, 0))?;
    let zeros = text[8192..24_576].iter().all(|&b| b == 0);
    demand(zeros && text[8191] == 7 && text[24_576] == 7, "the hole is not where it was made")?;
    allocate(libc::FALLOC_FL_KEEP_SIZE, 65_536, 65_536)?;
    demand(tried("fstat", f.metadata())?.len() == 65_536, "reserving changed the length")?;
    allocate(0, 0, 131_072)?;
    demand(tried("fstat", f.metadata())?.len() == 131_072, "allocating did not change the length")
}

/// renameat2 with flags.
pub fn rename(from: &str, to: &str, flags: u32) -> Found {
    let (from, to) = (tried(from, CString::new(from))?, tried(to, CString::new(to))?);
    // SAFETY: both strings end in NUL and live through the call.
    let done = unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) };
    demand(done == 0, format!("renameat2: {}", std::io::Error::last_os_error()))
}

/// Times with nanoseconds, before 1970 and after 2106, come back as they were set.
pub fn times(file: &str) -> Found {
    drop(fresh(file)?);
    let path = tried(file, CString::new(file))?;
    for (secs, nanos) in [(1_234_567_890, 123_456_789), (-1, 999_999_999), (5_000_000_000, 1)] {
        let times = [libc::timespec { tv_sec: secs, tv_nsec: nanos }; 2];
        // SAFETY: the path ends in NUL, and there are two times.
        let done = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) };
        demand(done == 0, format!("utimensat: {}", std::io::Error::last_os_error()))?;
        let meta = tried("stat", fs::metadata(file))?;
        let got = (meta.mtime(), meta.mtime_nsec());
        demand(got == (secs, nanos), format!("{got:?} came back for {:?}", (secs, nanos)))?;
    }
    Ok(())
}

/// The first and the last time that can be asked for come back, or the nearest that the file system has.
pub fn extreme_times(file: &str) -> Found {
    drop(fresh(file)?);
    let path = tried(file, CString::new(file))?;
    for asked in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
        let times = [libc::timespec { tv_sec: asked, tv_nsec: 7 }; 2];
        // SAFETY: the path ends in NUL, and there are two times.
        let done = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) };
        demand(done == 0, format!("utimensat {asked}: {}", std::io::Error::last_os_error()))?;
        for (what, got) in [
            ("atime", tried("stat", fs::metadata(file))?.atime()),
            ("mtime", tried("stat", fs::metadata(file))?.mtime()),
        ] {
            // Even the smallest range in use begins in 1901 and ends in 2038.
            let near = if asked < 0 { got <= i64::from(i32::MIN) } else { got >= i64::from(i32::MAX) };
            demand(near, format!("{what} is {got} when {asked} was asked for"))?;
        }
        tried("read", fs::read(file))?;
    }
    Ok(())
}

/// Requests to a file that it has no answer to are refused with a word that programs know how to go on from.
pub fn refused_ioctls(file: &str) -> Found {
    let f = fresh(file)?;
    tried("write", f.write_all_at(&[7; 4096], 0))?;
    let ask = |request: u64, argument: &mut [u64; 8]| {
        // SAFETY: the longest argument of those below has 56 bytes.
        let done = unsafe { libc::ioctl(f.as_raw_fd(), request as _, argument.as_mut_ptr()) };
        if done < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
    };
    let mut block = [0; 8];
    demand(ask(FIGETBSZ, &mut block) == 0 && block[0] == 4096, format!("a block has {} bytes", block[0]))?;
    let error = ask(0xdead_beef, &mut [0; 8]);
    demand(error == libc::ENOTTY, format!("a request that nobody knows ended with {error}"))?;
    // SAFETY: the structure is made of numbers.
    let mut fs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives until the call has returned.
    let done = unsafe { libc::fstatfs(f.as_raw_fd(), &raw mut fs) };
    demand(done == 0, format!("fstatfs: {}", std::io::Error::last_os_error()))?;
    if fs.f_type != FUSE_MAGIC {
        println!("a local file system may know those below");
        return Ok(());
    }
    for (what, request) in [
        ("FS_IOC_GETFLAGS", 0x8008_6601),
        ("FS_IOC_SETFLAGS", 0x4008_6602),
        ("FS_IOC_FSGETXATTR", 0x801c_581f),
        ("FIEMAP", 0xc020_660b),
        ("FITRIM", 0xc018_5879),
    ] {
        let error = ask(request, &mut [0; 8]);
        let refused = [libc::ENOTTY, libc::EOPNOTSUPP].contains(&error);
        demand(refused, format!("{what} ended with {error}"))?;
    }
    let other = fresh(&format!("{file}.clone"))?;
    // SAFETY: its argument is a descriptor.
    let done = unsafe { libc::ioctl(other.as_raw_fd(), libc::FICLONE as _, f.as_raw_fd()) };
    let error = std::io::Error::last_os_error().raw_os_error();
    demand(done < 0 && error == Some(libc::EOPNOTSUPP), format!("FICLONE: {done}, {error:?}"))?;
    let mut text = [0; 4097];
    let length = tried("read", f.read_at(&mut text, 0))?;
    demand(length == 4096 && text[..4096] == [7; 4096], "the file is another afterwards")
}
