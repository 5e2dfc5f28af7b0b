//! That this process is to stop: said by a signal or an operator, waited for by whatever runs, and remembered. A life that
//! fails while it stops must not be followed by another.

use tokio::sync::watch;

/// Whether it was said.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    /// Says it.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said by now.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is.
    pub async fn asked(&self) {
        // The sender is `self`, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
