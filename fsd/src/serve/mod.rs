//! What others may ask of this server: one module for each service, each of which decodes, calls and encodes.

pub mod chunks;
