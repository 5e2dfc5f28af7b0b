//! Log lines: to standard error, with the time, one line for each thing that an operator should know.

use tracing_subscriber::EnvFilter;

/// Starts logging. `RAIDFS_LOG` changes what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
pub fn start() {
    let filter = EnvFilter::try_from_env("RAIDFS_LOG").unwrap_or_else(|_| EnvFilter::new("info,tarpc=off,fjall=warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false);
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was started already");
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
