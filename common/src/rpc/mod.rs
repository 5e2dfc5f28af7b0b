//! The services between the programs, and the first frame of every connection.
//!
//! A connection carries one service. Its first frame is a [`Hello`], answered by a [`Welcome`]; then tarpc frames
//! follow (see [`crate::wire`]).

pub mod admin;
pub mod chunks;
pub mod direct;
pub mod names;
pub mod peer;

use crate::id::{ClusterId, ServerId};
use serde::{Deserialize, Serialize};

/// What a request asks for.
pub trait Asks {
    /// How many bytes its answer may have, where that is more than a few; no more than a whole chunk and what belongs to it.
    fn answer_bytes(&self) -> usize;
}

/// An answer that is a page of short entries.
pub(crate) const PAGE_ANSWER_BYTES: usize = 256 << 10;

/// The protocol's version; both sides of a connection must have the same. One line of history for each step:
///
/// 1. the first;
/// 2. copies that the servers make (`ChunkService::copy`); connections that are passed on ([`Speaker::ClientByWay`]);
/// 3. a page of a directory says which cookie comes next (`Answer::Entries`); a barrier says whose changes it is about
///    (`NamesService::barrier`); a pair whose both servers are gone for good: what is lost, and accepting it
///    (`AdminService::accept_loss`, `ChunkSummary::lost`);
/// 4. a pair that nobody serves has no room (`Space::is_out_of_service`), and where all pairs are nearly full a new file goes
///    to the freest: servers of both kinds would not place files alike;
/// 5. a follower says whether it gets through to the leader (`AppendReply::reaches`);
/// 6. synced changes go to the mirror over a connection of their own ([`Service::Direct`]);
/// 7. servers have a connection to each other that ends with the other's process ([`Service::Life`]).
pub const PROTOCOL_VERSION: u16 = 7;

/// The first bytes of every connection.
pub const MAGIC: [u8; 4] = *b"rdfs";

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Speaker {
    /// A server or the witness.
    Server(ServerId),
    /// A mount, the shell or another client.
    Client,
    /// A client that does not reach whom it means: whoever is asked passes the connection on.
    ClientByWay,
}

impl std::fmt::Display for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Speaker::Server(id) => id.fmt(f),
            Speaker::Client | Speaker::ClientByWay => f.write_str("a client"),
        }
    }
}

/// Which service a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Service {
    /// [`names`]
    Names,
    /// [`chunks`]
    Chunks,
    /// [`peer`]
    Peer,
    /// [`admin`]
    Admin,
    /// [`direct`]
    Direct,
    /// None: it ends with the server's process, and as soon as that.
    Life,
}

/// What the caller says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the caller.
    pub version: u16,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its cluster's name, for messages.
    pub cluster_name: String,
    /// Who it is.
    pub speaker: Speaker,
    /// Whom it means to reach.
    pub to: ServerId,
    /// For what.
    pub service: Service,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on.
    Yes,
    /// The connection is closed after this; why, in words for the log.
    No(String),
}
