//! Where a file's chunks lie, as text: the extended attribute `user.raidfs.where`.

use super::Vfs;
use super::cluster::Cluster;
use bytes::Bytes;
use raidfs_common::attr::FileKind;
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::limits::CHUNK_BYTES;
use raidfs_common::namespace::{Answer, Query};
use raidfs_common::pair::{CopyState, Pair, place};
use std::fmt::Write;

/// The attribute's name. Not listed, so that copying a file's attributes does not try to copy it.
pub(super) const WHERE: &[u8] = b"user.raidfs.where";
/// Chunks that are listed one by one; what follows them repeats the pattern.
const LINES_MAX: u64 = 64;

impl<C: Cluster> Vfs<C> {
    /// One line for each chunk: its number, its pair, and the pair's servers, the primary first.
    pub async fn place(&self, ino: Ino) -> Result<Bytes, FsError> {
        let attr = self.getattr(ino).await?;
        if attr.kind != FileKind::File {
            return Err(FsError::NoData);
        }
        if attr.placement == super::files::UNPLACED {
            let last = self.0.names.lock().queue.last();
            self.0.settled(last).await;
        }
        let attr = self.getattr(ino).await?;
        let Answer::Pairs(pairs) = self.0.cluster.ask(Query::Pairs).await? else { return Err(FsError::Io) };
        let chunks = attr.size.div_ceil(CHUNK_BYTES).max(1);
        let mut text = String::new();
        for index in 0..chunks.min(LINES_MAX) {
            let place = place(attr.placement, index as u32, pairs.len());
            let Some(pair) = pairs.iter().find(|p| p.id == place.pair) else { return Err(FsError::Io) };
            let primary = pair.primary(place);
            // Writing to a string does not fail.
            let _ = writeln!(text, "chunk {index}: {}: {}", place.pair, servers(pair, primary));
        }
        if chunks > LINES_MAX {
            let _ = writeln!(text, "and {} more in the same turn", chunks - LINES_MAX);
        }
        Ok(text.into())
    }
}

fn servers(pair: &Pair, primary: Option<raidfs_common::id::ServerId>) -> String {
    let mut members = pair.members;
    members.sort_by_key(|m| (Some(m.server) != primary, m.server));
    let one = |m: &raidfs_common::pair::Member| match m.state {
        CopyState::InSync if Some(m.server) == primary => format!("{} (primary)", m.server),
        CopyState::InSync => m.server.to_string(),
        CopyState::Stale => format!("{} (stale)", m.server),
        CopyState::Syncing => format!("{} (syncing)", m.server),
    };
    members.iter().map(one).collect::<Vec<_>>().join(", ")
}
