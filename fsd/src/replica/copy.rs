//! A copy: the primary of the chunk that is written reads the bytes, from its own disk or another server, and makes them
//! a write like any other. The client only says from where to where.
//!
//! The bytes are read before the write has its place in the chunk's order, and nothing is held meanwhile: so two copies
//! never wait for each other. A try that could not read has had no effect, and the same number may be tried again with
//! another source.

use super::Replica;
use super::judge::check_range;
use super::tally::add;
use bytes::{Bytes, BytesMut};
use raidfs_common::error::Rejection;
use raidfs_common::id::ChunkId;
use raidfs_common::rpc::chunks::{Applied, ChangeId, ChunkChange, ChunkServiceClient, Copied, CopySource, View};
use std::sync::Arc;
use std::time::Duration;

/// A source that takes longer is given up: the client asks for another try, from its mirror.
const SOURCE_PATIENCE: Duration = Duration::from_secs(1);

impl Replica {
    /// Writes `length` bytes at `offset` of a chunk on both mirrors, as `source` has them.
    ///
    /// # Errors
    /// As of a change. That the source could not be read is none of this chunk's pair: [`Copied::Unread`].
    pub async fn copy(
        self: &Arc<Self>,
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        (offset, length): (u32, u32),
        source: CopySource,
    ) -> Result<Copied, Rejection> {
        check_range(offset, length as usize)?;
        check_range(source.offset, length as usize)?;
        if length == 0 {
            return Ok(Copied::Made(Applied::default()));
        }
        let (replica, reader) = (self.clone(), self.clone());
        let bytes = async move {
            let bytes = reader.read_source(&source, length).await?;
            add(&reader.tally.copied_bytes, bytes.len() as u64);
            Ok(ChunkChange::Write { offset, sync: false, data: bytes.into() })
        };
        let task = tokio::spawn(async move { replica.change_once(view, id, chunk, bytes).await });
        Ok(match task.await.unwrap_or(Err(Rejection::Away))? {
            Ok(applied) => Copied::Made(applied),
            Err(unread) => Copied::Unread(unread),
        })
    }

    /// The bytes of a copy, all of them. None: no answer.
    async fn read_source(self: &Arc<Self>, source: &CopySource, length: u32) -> Result<Bytes, Option<Rejection>> {
        let CopySource { server, view, chunk, offset } = *source;
        let bytes = if server == self.me {
            let read = self.read(view, chunk, offset, length);
            tokio::time::timeout(SOURCE_PATIENCE, read).await.map_err(|_| None)?.map_err(Some)?
        } else {
            let read =
                move |c: ChunkServiceClient, context| async move { c.read(context, view, chunk, offset, length).await };
            match self.peers.call(server, SOURCE_PATIENCE, read).await {
                Ok(answer) => answer.map_err(Some)?.0,
                Err(error) => {
                    tracing::debug!("a copy from {server} was not read: {}", raidfs_common::log::chain(&error));
                    return Err(None);
                }
            }
        };
        if bytes.len() > length as usize {
            let answer = format!("{server} answers a read of {length} bytes with {}", bytes.len());
            return Err(Some(Rejection::Bad(answer)));
        }
        if bytes.len() == length as usize {
            return Ok(bytes);
        }
        let mut whole = BytesMut::from(bytes);
        whole.resize(length as usize, 0);
        Ok(whole.freeze())
    }
}
