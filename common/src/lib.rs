//! The words that all raidfs programs share: identifiers, attributes, the messages between programs, and the
//! decisions that more than one program must take alike (who is primary, where a chunk lies).
//!
//! | room | what is in it |
//! |---|---|
//! | [`id`], [`name`], [`attr`], [`time`] | checked values |
//! | [`namespace`] | changes and queries of the replicated namespace, and their outcomes |
//! | [`acl`] | access control lists, and how they and the permission bits follow each other |
//! | [`pair`] | a pair's servers, their states, its epoch, who is primary |
//! | [`extent`], [`checksum`] | byte ranges of a file as ranges of chunks; block sums |
//! | [`error`] | outcomes that applications see; rejections that the client acts on |
//! | [`rpc`] | the services, and the first frame of every connection |
//! | [`stream`], [`wire`], [`codec`] | connections, tarpc over them with payloads beside the header; the only use of bincode |
//! | [`panics`], [`threads`] | a panic ends the program; runtimes that have their threads from the beginning |
//! | [`plant`] | bugs on purpose, for the simulation to find; in no usual build |
//! | [`config`], [`limits`], [`log`], [`printed`] | the configuration file, every bound of the system, log lines, names in them |
//!
//! One rule: apart from `stream`, `wire`, `config`, `log`, `panics` and `threads` nothing here does I/O or asks for the time.

pub mod acl;
pub mod attr;
pub mod budget;
pub mod checksum;
pub mod codec;
pub mod complaints;
pub mod config;
pub mod error;
pub mod extent;
pub mod id;
pub mod limits;
pub mod log;
pub mod name;
pub mod namespace;
pub mod pair;
pub mod panics;
pub mod plant;
pub mod printed;
pub mod room;
pub mod rpc;
pub mod stream;
pub mod threads;
pub mod time;
pub mod wire;
