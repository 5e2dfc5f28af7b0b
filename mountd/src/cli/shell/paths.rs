//! Paths of the shell to inodes: all from the root, whether they begin with `/` or not. Symbolic links are followed.

use crate::vfs::Vfs;
use crate::vfs::cluster::Cluster;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;

/// Symbolic links followed on one path; beyond it the path is refused, as a loop.
const LINKS_MAX: usize = 40;

/// The directory that a path's last name is in, and that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub parent: Ino,
    /// The name in it.
    pub name: Vec<u8>,
}

fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").rev().map(<[u8]>::to_vec).collect()
}

/// What `path` is; with `follow`, a symbolic link at its end is followed, too.
pub async fn find<C: Cluster>(vfs: &Vfs<C>, path: &str, follow: bool) -> Result<Attr, FsError> {
    let root = vfs.getattr(Ino::ROOT).await?;
    let mut at = root;
    // Names still to be looked up, the next one last.
    let mut rest = names(path.as_bytes());
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if at.kind != FileKind::Dir {
            return Err(FsError::NotDir);
        }
        let next = vfs.lookup(at.ino, &name).await?;
        if next.kind != FileKind::Symlink || (rest.is_empty() && !follow) {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(FsError::TooManyLinks);
        }
        let target = vfs.readlink(next.ino).await?;
        if target.starts_with(b"/") {
            at = root;
        }
        rest.extend(names(&target));
    }
    Ok(at)
}

/// Where the last name of `path` is, or would be.
pub async fn place<C: Cluster>(vfs: &Vfs<C>, path: &str) -> Result<Place, FsError> {
    let trimmed = path.trim_end_matches('/');
    let (dir, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    if matches!(name, "" | "." | "..") {
        return Err(if trimmed.is_empty() { FsError::Busy } else { FsError::Invalid });
    }
    let parent = find(vfs, dir, true).await?;
    if parent.kind != FileKind::Dir {
        return Err(FsError::NotDir);
    }
    Ok(Place { parent: parent.ino, name: name.as_bytes().to_vec() })
}
