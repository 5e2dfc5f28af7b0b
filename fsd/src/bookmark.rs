//! Where a server's scrubber is, on disk: a pass through many chunks takes days, and goes on after a start where it was.
//! Only a hint: what is lost or damaged means that a pass begins anew. Format in docs/DISK_FORMAT.md, "Scrub".

use crate::sealed;
use raidfs_common::id::ChunkId;
use raidfs_common::rpc::admin::ScrubPass;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The pass that goes by itself, if one is under way, and the last chunk that it looked at.
    pub now: Option<(ScrubPass, ChunkId)>,
    /// The last pass that went through all chunks.
    pub last: Option<ScrubPass>,
}

/// The file.
#[derive(Debug)]
pub struct Bookmark {
    path: PathBuf,
}

impl Bookmark {
    /// The file at `path`, which need not be there.
    pub fn new(path: &Path) -> Bookmark {
        Bookmark { path: path.to_owned() }
    }

    /// What it says. Blocking.
    pub fn read(&self) -> Place {
        sealed::read(&self.path).ok().flatten().unwrap_or_default()
    }

    /// Writes it anew; never half of it. Blocking.
    pub fn write(&self, place: &Place) -> io::Result<()> {
        sealed::write(&self.path, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raidfs_common::id::Ino;
    use std::fs;

    #[test]
    fn it_is_read_back_and_damage_means_that_nothing_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("scrub");
        let mark = Bookmark::new(&path);
        assert_eq!(mark.read(), Place::default());
        let pass = ScrubPass { number: 7, chunks: 3, total: 9, ..ScrubPass::default() };
        let place = Place { now: Some((pass, ChunkId { ino: Ino(5), index: 2 })), last: Some(pass) };
        mark.write(&place).expect("it is written");
        assert_eq!(mark.read(), place);
        let bytes = fs::read(&path).expect("it is there");
        fs::write(&path, &bytes[1..]).expect("it is damaged");
        assert_eq!(mark.read(), Place::default());
    }
}
