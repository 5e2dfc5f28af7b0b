//! After a failed write or sync the disk's word is worth nothing: what was written may be gone although a later sync
//! succeeds. From then on nothing is changed or called durable; the server leaves, and comes back by resync.
//!
//! Owns the one bit and its reason. Never clears it: a restart does, and the life that follows says that what was acknowledged
//! may be missing (rule 18), as it may be that of the last copy in sync. Not so if there was no room to note what was about to change:
//! nothing is changed from then on either, but nothing is missing.

use super::ChunkError;
use crate::chunk::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the store is still to be trusted.
#[derive(Debug, Default)]
pub struct Poison {
    reason: OnceLock<String>,
    in_doubt: AtomicBool,
}

impl Poison {
    /// Fails if the store is not to be trusted any more.
    pub fn check(&self) -> Result<(), ChunkError> {
        match self.reason.get() {
            None => Ok(()),
            Some(reason) => Err(ChunkError::Poisoned(reason.clone())),
        }
    }

    /// Trusts the store no more, unless it was only that no file more could be opened: then nothing has gone to the disk.
    pub fn set_unless_short(&self, action: &str, error: &std::io::Error) {
        if !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            self.set(action, error);
        }
    }

    /// Trusts the store no more. The first reason stays.
    pub fn set(&self, action: &str, error: &std::io::Error) {
        self.in_doubt.store(true, Ordering::SeqCst);
        self.stop(action, error);
    }

    /// The same after something could not be noted, in a file of its own: that there was no room for it puts nothing in doubt.
    pub fn set_unnoted(&self, action: &str, error: &std::io::Error) {
        if io::is_full(error) { self.stop(action, error) } else { self.set_unless_short(action, error) }
    }

    /// Whether something may be missing that was written.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::SeqCst)
    }

    fn stop(&self, action: &str, error: &std::io::Error) {
        let reason = format!("{action}: {error}");
        if self.reason.set(reason.clone()).is_ok() {
            tracing::error!("the disk failed to {reason}; no chunk is changed any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn that_nothing_could_be_noted_for_want_of_room_puts_nothing_in_doubt() {
        let (full, failed) = (Error::from_raw_os_error(libc::ENOSPC), Error::from_raw_os_error(libc::EIO));
        let poison = Poison::default();
        poison.set_unnoted("write an intent", &full);
        assert!(poison.check().is_err() && !poison.is_in_doubt());
        poison.set("sync a chunk", &full);
        assert!(poison.is_in_doubt(), "what had been promised room");
        let poison = Poison::default();
        poison.set_unnoted("write an intent", &failed);
        assert!(poison.check().is_err() && poison.is_in_doubt());
    }

    #[test]
    fn that_no_file_can_be_opened_is_no_word_of_the_disk() {
        let poison = Poison::default();
        poison.set_unless_short("sync a directory", &Error::from_raw_os_error(libc::EMFILE));
        assert!(poison.check().is_ok());
        poison.set_unless_short("sync a directory", &Error::from_raw_os_error(libc::EIO));
        assert!(poison.check().is_err());
    }
}
