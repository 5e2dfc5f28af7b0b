//! What the tests of several crates share, and the programs that the shell cases run on a mount.

pub mod bench;
pub mod dice;
pub mod file_handle;
pub mod in_process;
pub mod instep;
pub mod probe;
pub mod told;
pub mod wait;
