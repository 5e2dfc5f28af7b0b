//! The chunk service: decodes, calls the [`Replica`], encodes. Decides nothing.

use crate::replica::Replica;
use raidfs_common::codec::Blob;
use raidfs_common::error::Rejection;
use raidfs_common::id::{ChunkId, Ino, LogIndex, PairId, ServerId};
use raidfs_common::pair::Space;
use raidfs_common::rpc::chunks::{
    Applied, ChangeId, ChunkChange, ChunkCopy, ChunkService, ChunkSummary, Copied, CopySource, Grown, Noted, Ordered,
    View,
};
use std::sync::Arc;
use tarpc::context::Context;

/// Serves one server's chunks; cloned for each connection.
#[derive(Clone, Debug)]
pub struct ChunkServer {
    replica: Arc<Replica>,
}

impl ChunkServer {
    /// Serves what `replica` keeps.
    pub fn new(replica: Arc<Replica>) -> ChunkServer {
        ChunkServer { replica }
    }
}

impl ChunkService for ChunkServer {
    async fn change(
        self,
        _: Context,
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        self.replica.change(view, id, chunk, change).await
    }

    async fn apply(
        self,
        _: Context,
        by: Ordered,
        id: ChangeId,
        chunk: ChunkId,
        change: ChunkChange,
    ) -> Result<Applied, Rejection> {
        self.replica.apply(by, id, chunk, change).await
    }

    async fn read(self, _: Context, view: View, chunk: ChunkId, offset: u32, length: u32) -> Result<Blob, Rejection> {
        self.replica.read(view, chunk, offset, length).await.map(Blob)
    }

    async fn sync(self, _: Context, view: View, chunks: Vec<ChunkId>) -> Result<(), Rejection> {
        self.replica.sync(view, chunks).await
    }

    async fn sync_whole(self, _: Context, view: View, file: Option<Ino>) -> Result<(), Rejection> {
        self.replica.sync_whole(view, file).await
    }

    async fn extents(self, _: Context, view: View, chunk: ChunkId) -> Result<(u32, Vec<(u16, u16)>), Rejection> {
        self.replica.extents(view, chunk).await
    }

    async fn fetch(
        self,
        _: Context,
        from: ServerId,
        view: View,
        chunk: ChunkId,
    ) -> Result<Option<ChunkCopy>, Rejection> {
        self.replica.fetch(from, view, chunk).await
    }

    async fn drain(self, _: Context, from: ServerId, view: View) -> Result<(), Rejection> {
        self.replica.drain(from, view).await
    }

    async fn room(self, _: Context, _from: ServerId, view: View) -> Result<Space, Rejection> {
        self.replica.room_for(view)
    }

    async fn strain(self, _: Context, _from: ServerId, view: View) -> Result<u32, Rejection> {
        self.replica.strain_for(view)
    }

    async fn has(self, _: Context, by: Ordered, chunk: ChunkId, summary: ChunkSummary) -> Result<bool, Rejection> {
        self.replica.has(by, chunk, summary).await
    }

    async fn put(self, _: Context, by: Ordered, chunk: ChunkId, copy: Option<ChunkCopy>) -> Result<(), Rejection> {
        self.replica.put(by, chunk, copy).await
    }

    async fn noted(self, _: Context, from: ServerId, view: View, after: Option<ChunkId>) -> Result<Noted, Rejection> {
        self.replica.noted(from, view, after).await
    }

    async fn held(
        self,
        _: Context,
        from: ServerId,
        view: View,
        after: Option<ChunkId>,
    ) -> Result<Vec<ChunkId>, Rejection> {
        self.replica.held(from, view, after).await
    }

    async fn settle(self, _: Context, from: ServerId, view: View) -> Result<(), Rejection> {
        self.replica.settle(from, view).await
    }

    async fn settle_intents(self, _: Context, from: ServerId, view: View, drop: bool) -> Result<(), Rejection> {
        self.replica.settle_intents(from, view, drop).await
    }

    async fn settle_both(self, _: Context, from: ServerId, view: View) -> Result<(), Rejection> {
        self.replica.settle_both(from, view).await
    }

    async fn grown(
        self,
        _: Context,
        pair: PairId,
        at_least: LogIndex,
        after: Option<ChunkId>,
    ) -> Result<Grown, Rejection> {
        self.replica.grown(pair, at_least, after).await
    }

    async fn copy(
        self,
        _: Context,
        view: View,
        id: ChangeId,
        chunk: ChunkId,
        offset: u32,
        length: u32,
        source: CopySource,
    ) -> Result<Copied, Rejection> {
        self.replica.copy(view, id, chunk, (offset, length), source).await
    }

    async fn summary(
        self,
        _: Context,
        from: ServerId,
        view: View,
        chunk: ChunkId,
    ) -> Result<Option<ChunkSummary>, Rejection> {
        self.replica.summary_for(from, view, chunk).await
    }

    async fn next_chunk(self, _: Context, view: View, from: ChunkId) -> Result<Option<u32>, Rejection> {
        self.replica.next_chunk(view, from).await
    }
}
