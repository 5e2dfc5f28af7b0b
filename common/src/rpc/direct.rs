//! Between the servers of a pair: changes that are durable when they are answered, one at a time, served by a thread that does
//! the disk's work itself. It saves the way from thread to thread, twice, where somebody waits for every step of it. Whatever
//! goes wrong with it means nothing: the same change is sent as any other, too.

use super::Asks;
use super::chunks::{Applied, ChangeId, ChunkChange, Ordered};
use crate::error::Rejection;
use crate::id::ChunkId;

#[tarpc::service]
pub trait DirectService {
    /// [`ChunkService::apply`](super::chunks::ChunkService::apply), of a change that is to be synced.
    async fn apply(by: Ordered, id: ChangeId, chunk: ChunkId, change: ChunkChange) -> Result<Applied, Rejection>;
}

impl Asks for DirectServiceRequest {
    fn answer_bytes(&self) -> usize {
        0
    }
}
