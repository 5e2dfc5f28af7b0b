//! Log lines: to standard error, with the time, one line for each thing that an operator should know.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless `RAIDFS_LOG` says otherwise.
const USUAL: &str = "info,tarpc=off,fjall=warn";

/// Starts logging. `RAIDFS_LOG` changes what is logged: `debug`, or `info,raidfs_fsd=debug`, and so on, as
/// `tracing_subscriber::filter::Targets` reads it.
pub fn start() {
    let wanted = std::env::var("RAIDFS_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let targets = wanted.unwrap_or_else(|| USUAL.parse().expect("the usual filter is well-formed"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    if tracing_subscriber::registry().with(lines).with(targets).try_init().is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn what_is_usually_logged_is_well_formed() {
        let targets: Targets = USUAL.parse().unwrap();
        assert!(targets.would_enable("raidfs_fsd::server", &Level::INFO));
        assert!(!targets.would_enable("raidfs_fsd::server", &Level::DEBUG));
        assert!(!targets.would_enable("tarpc::client", &Level::ERROR));
    }
}
