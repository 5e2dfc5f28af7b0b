//! Making a tree's objects again with all that belongs to them. Knows where things go, not where they come from.
//!
//! A file that is here in part is written as `NAME.missing-pair2` (all missing pairs, from 1); when another export
//! brings a missing pair's bytes, it fills them in and shortens the name, until none is missing. Whatever else an earlier
//! export left in an object's place is removed first, so that nothing of it is mixed into what is made, or written through.

use super::super::Failure;
use super::Found;
use super::contents::{Contents, Here};
use super::names::Extras;
use raidfs_common::acl;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::id::{Ino, PairId};
use raidfs_common::limits::{BLOCK_BYTES, CHUNK_BYTES};
use raidfs_common::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const MISSING: &str = ".missing-";

/// Makes objects below one directory.
#[derive(Debug)]
pub struct Restorer {
    root: PathBuf,
    /// Where files with several names were made, by inode, what is missing of them, and how many of their blocks are damaged.
    linked: BTreeMap<Ino, (PathBuf, BTreeSet<PairId>, usize)>,
    /// Directories get their modes and times last: making what is in them needs the one and changes the other.
    directories: Vec<(PathBuf, Attr)>,
}

/// What was made of a file.
#[derive(Debug)]
pub struct Made {
    /// Its blocks that do not match their checksums.
    pub damaged: usize,
    /// What is there of it now, by this export and those before it.
    pub there: Here,
    /// Its bytes are there, but its owner, mode, times or extended attributes could not all be set.
    pub undressed: Option<Failure>,
}

impl Restorer {
    /// Everything goes below `root`, which is there.
    pub fn new(root: &Path) -> Restorer {
        Restorer { root: root.to_owned(), linked: BTreeMap::new(), directories: Vec::new() }
    }

    /// Makes a file again. Of one that is elsewhere nothing is made, but what others have made of it need not wait for this pair.
    pub fn file(
        &mut self,
        found: &Found,
        extras: &Extras,
        contents: &Contents,
        here: &Here,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Made, Failure> {
        let whole = self.root.join(&found.path);
        if let Some((missing, damaged)) = self.link(found, &whole, contents.pair())? {
            return Ok(Made { damaged, there: lacking(missing), undressed: None });
        }
        let others = match here {
            // One chunk is here or not.
            Here::Partly { .. } | Here::Elsewhere if found.attr.size > CHUNK_BYTES => {
                begun(&whole, |missing| missing.contains(&contents.pair()))?
            }
            Here::Whole | Here::Partly { .. } | Here::Elsewhere => None,
        };
        let (others, missing) = match (here, others) {
            // It may lack nothing of this pair, which had only holes.
            (_, Some((path, missing))) => (Some(path), missing),
            (Here::Elsewhere, None) => {
                return Ok(Made { damaged: 0, there: by_others(&whole, &found.attr)?, undressed: None });
            }
            (Here::Partly { missing }, None) => (None, missing.clone()),
            (Here::Whole, None) => (None, BTreeSet::new()),
        };
        // Until all that is here is in it, it has another name.
        let path = match others {
            Some(path) => path,
            None => {
                let path = with_missing(&whole, &missing);
                make_way(&path).map_err(Failure::file("replace", &path))?;
                path
            }
        };
        let damaged = fill(&path, &found.attr, contents, progress)?;
        // Bytes are kept whatever becomes of the rest.
        let dressed = shed_lists(&path, found.attr.kind).and(dress(&path, &found.attr, extras));
        let missing: BTreeSet<PairId> = missing.into_iter().filter(|pair| *pair != contents.pair()).collect();
        let end = with_missing(&whole, &missing);
        if end != path {
            std::fs::rename(&path, &end).map_err(Failure::file("rename", &path))?;
        }
        self.remember(found, end, missing.clone(), damaged);
        Ok(Made { damaged, there: lacking(missing), undressed: dressed.err() })
    }

    /// Makes anything else again; `pair` is the one that is exported.
    pub fn other(&mut self, found: &Found, extras: &Extras, pair: PairId) -> Result<(), Failure> {
        let path = self.root.join(&found.path);
        if self.link(found, &path, pair)?.is_some() {
            return Ok(());
        }
        let is_dir = found.attr.kind == FileKind::Dir;
        if !(is_dir && path.symlink_metadata().is_ok_and(|there| there.is_dir())) {
            make_way(&path).map_err(Failure::file("replace", &path))?;
            let made = match found.attr.kind {
                FileKind::Dir => std::fs::create_dir(&path),
                FileKind::Symlink => std::os::unix::fs::symlink(OsStr::from_bytes(&extras.target), &path),
                _ => make_node(&path, &found.attr),
            };
            made.map_err(Failure::file("make", &path))?;
        }
        if is_dir {
            let dressed = shed_lists(&path, found.attr.kind).and(set_xattrs(&path, extras));
            self.directories.push((path, found.attr));
            return dressed;
        }
        let dressed = shed_lists(&path, found.attr.kind).and(dress(&path, &found.attr, extras));
        self.remember(found, path, BTreeSet::new(), 0);
        dressed
    }

    /// Gives the directories their owners, modes and times, what is inside first.
    pub fn finish(mut self, root: &Attr) -> Result<(), Failure> {
        self.directories.insert(0, (self.root.clone(), *root));
        let mut result = Ok(());
        for (path, attr) in self.directories.iter().rev() {
            result = result.and(dress(path, attr, &Extras::default()));
        }
        result
    }

    /// Gives a file that was made already one more name, and says what it is missing, and how many of its blocks are damaged;
    /// None: this is its first. `pair` is the one that is exported.
    fn link(&self, found: &Found, whole: &Path, pair: PairId) -> Result<Option<(BTreeSet<PairId>, usize)>, Failure> {
        let Some((first, missing, damaged)) = self.linked.get(&found.attr.ino) else { return Ok(None) };
        // The name that it had before this pair's bytes were in it.
        if let Some((before, _)) = begun(whole, |missing| missing.contains(&pair))? {
            make_way(&before).map_err(Failure::file("replace", &before))?;
        }
        let path = with_missing(whole, missing);
        make_way(&path).map_err(Failure::file("replace", &path))?;
        std::fs::hard_link(first, &path).map_err(Failure::file("link", &path))?;
        Ok(Some((missing.clone(), *damaged)))
    }

    fn remember(&mut self, found: &Found, path: PathBuf, missing: BTreeSet<PairId>, damaged: usize) {
        if found.attr.nlink > 1 {
            self.linked.insert(found.attr.ino, (path, missing, damaged));
        }
    }
}

/// Writes what is here of a file; the number of blocks that do not match their checksums.
fn fill(path: &Path, attr: &Attr, contents: &Contents, progress: &mut dyn FnMut(u64)) -> Result<usize, Failure> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = open.map_err(Failure::file("make", path))?;
    file.set_len(attr.size).map_err(Failure::file("write", path))?;
    let mut damaged = 0;
    for index in contents.indexes(attr)? {
        let Some(chunk) = contents.read(attr, index)? else { continue };
        damaged += chunk.damaged.len() + usize::from(chunk.unchecked.is_some());
        let written = write_sparse(&file, u64::from(index) * CHUNK_BYTES, &chunk.bytes);
        progress(written.map_err(Failure::file("write", path))?);
    }
    Ok(damaged)
}

/// Removes what an earlier export left there: anything but a directory.
fn make_way(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A file that is missing these pairs' bytes.
fn lacking(missing: BTreeSet<PairId>) -> Here {
    if missing.is_empty() { Here::Whole } else { Here::Partly { missing } }
}

/// What exports of other pairs have made of a file of which this one has nothing.
fn by_others(whole: &Path, attr: &Attr) -> Result<Here, Failure> {
    // What an export of another day left is not this file: it is as long, and was changed when this was.
    let is_it = |path: &Path| {
        path.symlink_metadata().is_ok_and(|there| {
            let changed = (there.mtime(), there.mtime_nsec());
            there.is_file() && there.len() == attr.size && changed == (attr.mtime.secs, attr.mtime.nanos.into())
        })
    };
    if is_it(whole) {
        return Ok(Here::Whole);
    }
    // One chunk is there or not.
    let begun = if attr.size > CHUNK_BYTES { begun(whole, |_| true)? } else { None };
    Ok(begun.filter(|(path, _)| is_it(path)).map_or(Here::Elsewhere, |(_, missing)| lacking(missing)))
}

/// What an export of another pair made of this file, if it lacks the bytes of pairs that are `wanted`: its path, and what it
/// is missing.
fn begun(
    whole: &Path,
    wanted: impl Fn(&BTreeSet<PairId>) -> bool,
) -> Result<Option<(PathBuf, BTreeSet<PairId>)>, Failure> {
    let (Some(directory), Some(name)) = (whole.parent(), whole.file_name()) else { return Ok(None) };
    let start = [name.as_bytes(), MISSING.as_bytes()].concat();
    for entry in std::fs::read_dir(directory).map_err(Failure::file("list", directory))?.flatten() {
        let name = entry.file_name();
        let Some(missing) = name.as_bytes().strip_prefix(start.as_slice()).and_then(parse_missing) else { continue };
        // What is stored may have such a name, too, and lead elsewhere.
        if wanted(&missing) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            return Ok(Some((entry.path(), missing)));
        }
    }
    Ok(None)
}

/// A path with the pairs whose bytes it lacks.
fn with_missing(path: &Path, missing: &BTreeSet<PairId>) -> PathBuf {
    if missing.is_empty() {
        return path.to_owned();
    }
    let pairs: Vec<String> = missing.iter().map(|pair| format!("pair{}", pair.0 + 1)).collect();
    let mut path = path.as_os_str().to_owned();
    path.push(MISSING);
    path.push(pairs.join("-"));
    path.into()
}

/// The pairs in `pair1-pair3`; None for anything else.
fn parse_missing(text: &[u8]) -> Option<BTreeSet<PairId>> {
    let text = std::str::from_utf8(text).ok()?;
    let number = |word: &str| word.strip_prefix("pair")?.parse::<u16>().ok()?.checked_sub(1).map(PairId);
    text.split('-').map(number).collect()
}

/// Writes bytes at a place, leaving holes where blocks are zero; the number of bytes written.
fn write_sparse(file: &File, at: u64, bytes: &[u8]) -> io::Result<u64> {
    let mut written = 0;
    for (n, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
        if block.iter().any(|&b| b != 0) {
            file.write_all_at(block, at + n as u64 * BLOCK_BYTES)?;
            written += block.len() as u64;
        }
    }
    Ok(written)
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn make_node(path: &Path, attr: &Attr) -> io::Result<()> {
    let kind = match attr.kind {
        FileKind::Fifo => libc::S_IFIFO,
        FileKind::Socket => libc::S_IFSOCK,
        FileKind::CharDevice => libc::S_IFCHR,
        FileKind::BlockDevice => libc::S_IFBLK,
        FileKind::File | FileKind::Dir | FileKind::Symlink => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let path = c_path(path)?;
    // SAFETY: the path ends in NUL and lives through the call.
    checked(unsafe { libc::mknod(path.as_ptr(), kind | 0o600, libc::dev_t::from(attr.rdev)) })
}

/// Gives an object its owner, mode, extended attributes and times, in the order in which none undoes another. What one of them
/// cannot be keeps it from none of the others; the first is said.
fn dress(path: &Path, attr: &Attr, extras: &Extras) -> Result<(), Failure> {
    let c = c_path(path).map_err(Failure::file("name", path))?;
    // SAFETY: the path ends in NUL and lives through the call.
    let owned = match checked(unsafe { libc::lchown(c.as_ptr(), attr.uid, attr.gid) }) {
        // Not root: what is made is one's own.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        owned => owned.map_err(Failure::file("give an owner to", path)),
    };
    let mode = match attr.kind {
        FileKind::Symlink => Ok(()),
        _ => {
            // What has another's owner now must not lend his rights.
            let perm = if owned.is_ok() { attr.perm } else { attr.perm & 0o1777 };
            // SAFETY: as above.
            let set = checked(unsafe { libc::chmod(c.as_ptr(), libc::mode_t::from(perm)) });
            set.map_err(Failure::file("set the mode of", path))
        }
    };
    let xattrs = set_xattrs(path, extras);
    let spec = |t: Time| libc::timespec { tv_sec: t.secs, tv_nsec: t.nanos.into() };
    let times = [spec(attr.atime), spec(attr.mtime)];
    // SAFETY: as above, and there are two times.
    let set =
        checked(unsafe { libc::utimensat(libc::AT_FDCWD, c.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) });
    owned.and(mode).and(xattrs).and(set.map_err(Failure::file("set the times of", path)))
}

/// Takes access control lists away that an object was born with here: it gets those that it had there.
fn shed_lists(path: &Path, kind: FileKind) -> Result<(), Failure> {
    if kind == FileKind::Symlink {
        return Ok(());
    }
    for list in [acl::ACCESS, acl::DEFAULT] {
        let names = c_path(path).and_then(|path| Ok((path, CString::new(list)?)));
        let (c, name) = names.map_err(Failure::file("name", path))?;
        // SAFETY: both strings end in NUL and live through the call. Where there are no lists, none can be taken away.
        unsafe { libc::lremovexattr(c.as_ptr(), name.as_ptr()) };
    }
    Ok(())
}

fn set_xattrs(path: &Path, extras: &Extras) -> Result<(), Failure> {
    let mut result = Ok(());
    for (name, value) in &extras.xattrs {
        let names = c_path(path).and_then(|path| Ok((path, CString::new(name.as_ref())?)));
        let (c, name) = names.map_err(Failure::file("name", path))?;
        // SAFETY: both strings end in NUL, and the value is as long as said.
        let set = checked(unsafe { libc::lsetxattr(c.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) });
        result = result.and(set.map_err(Failure::file("set an extended attribute of", path)));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_in_the_name_and_read_back() {
        let missing = BTreeSet::from([PairId(0), PairId(2)]);
        let path = with_missing(Path::new("/a/b"), &missing);
        assert_eq!(path, Path::new("/a/b.missing-pair1-pair3"));
        assert_eq!(parse_missing(b"pair1-pair3"), Some(missing));
        for other in ["", "pair0", "pairs", "pair1-", "1"] {
            assert_eq!(parse_missing(other.as_bytes()), None, "{other}");
        }
        assert_eq!(with_missing(Path::new("/a/b"), &BTreeSet::new()), Path::new("/a/b"));
    }

    #[test]
    fn what_another_export_began_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("f");
        let begun = |pair| begun(&whole, |missing| missing.contains(&pair)).unwrap();
        assert_eq!(begun(PairId(1)), None);
        std::fs::write(dir.path().join("f.missing-pair2"), "").unwrap();
        std::fs::write(dir.path().join("g.missing-pair3"), "").unwrap();
        let (path, missing) = begun(PairId(1)).unwrap();
        assert_eq!((path, missing), (dir.path().join("f.missing-pair2"), BTreeSet::from([PairId(1)])));
        assert_eq!(begun(PairId(2)), None);
    }

    #[test]
    fn what_others_made_is_there_unless_it_is_of_another_day() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("f");
        let make = |path: &Path, attr: &Attr| {
            File::create(path).unwrap().set_len(attr.size).unwrap();
            dress(path, attr, &Extras::default()).unwrap();
        };
        let mtime = Time { secs: 1_000_000_000, nanos: 5 };
        let attr = Attr { size: CHUNK_BYTES + 1, mtime, perm: 0o600, ..crate::vfs::testing::empty_file(Ino(9)) };
        assert_eq!(by_others(&whole, &attr).unwrap(), Here::Elsewhere);
        let partly = dir.path().join("f.missing-pair3");
        make(&partly, &attr);
        assert_eq!(by_others(&whole, &attr).unwrap(), Here::Partly { missing: BTreeSet::from([PairId(2)]) });
        for other in [Attr { size: 7, ..attr }, Attr { mtime: Time { nanos: 6, ..mtime }, ..attr }] {
            make(&whole, &other);
            std::fs::remove_file(&partly).unwrap_or_default();
            assert_eq!(by_others(&whole, &attr).unwrap(), Here::Elsewhere);
        }
        make(&whole, &attr);
        assert_eq!(by_others(&whole, &attr).unwrap(), Here::Whole);
    }

    #[test]
    fn what_an_earlier_export_left_makes_way_and_nothing_is_written_through_it() {
        let dir = tempfile::tempdir().unwrap();
        let (link, led_to) = (dir.path().join("f"), dir.path().join("elsewhere"));
        std::fs::write(&led_to, "not ours").unwrap();
        std::os::unix::fs::symlink(&led_to, &link).unwrap();
        make_way(&link).unwrap();
        assert!(link.symlink_metadata().is_err());
        assert_eq!(std::fs::read(&led_to).unwrap(), b"not ours");
        make_way(&link).unwrap();
        std::fs::create_dir(&link).unwrap();
        assert!(make_way(&link).is_err(), "a directory stays");
    }

    #[test]
    fn zeros_become_holes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        let mut bytes = vec![0; 5 * 4096 + 10];
        bytes[4096] = 1;
        bytes[5 * 4096 + 9] = 2;
        assert_eq!(write_sparse(&file, 4096, &bytes).unwrap(), 4096 + 10);
        let text = std::fs::read(&path).unwrap();
        assert_eq!(text.len() as u64, file.metadata().unwrap().size());
        assert!(text[..4096].iter().all(|&b| b == 0) && text[4096..] == bytes);
    }
}
