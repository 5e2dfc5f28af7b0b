//! What others may ask of this server: one module for each service, each of which decodes, calls and encodes; and the
//! port where they arrive.

pub mod admin;
pub mod bounds;
pub mod chunks;
pub mod direct;
pub mod listen;
pub mod names;
pub mod peer;
pub mod places;
mod relay;
pub mod tally;
pub mod witness;
