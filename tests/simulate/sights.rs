//! What is seen of the servers while they run. By the lines that they log: in no term anybody but one leads. And each state that an
//! agreed entry leads to is one that may be.

use parking_lot::Mutex;
use raidfs_common::id::LogIndex;
use raidfs_fsd::machine::steps;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// What stands between the leader and the term in a server's line about it.
const LEADS: &str = " leads, term ";

static LEADERS: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

struct Watch;

/// The text of a line.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

impl<S: Subscriber> Layer<S> for Watch {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("raidfs_fsd::consensus") {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        if let Some((leader, term)) = text.0.split_once(LEADS) {
            LEADERS.lock().entry(term.to_owned()).or_default().insert(leader.to_owned());
        }
    }
}

/// Starts logging to standard error as the programs do, and looking at what they log and come to.
pub fn begin() {
    steps::begin();
    let usual = "info,tarpc=off,fjall=warn";
    let wanted = std::env::var("RAIDFS_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let targets = wanted.unwrap_or_else(|| usual.parse().expect("the usual filter is well-formed"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    let watch = Watch.with_filter(Targets::new().with_target("raidfs_fsd", tracing::Level::INFO));
    tracing_subscriber::registry().with(lines.with_filter(targets)).with(watch).init();
}

/// What was seen that must not be.
pub fn faults() -> Vec<String> {
    let leaders = LEADERS.lock();
    let two = leaders.iter().filter(|(_, leaders)| leaders.len() > 1);
    let mut faults: Vec<String> = two.map(|(term, who)| format!("in term {term} lead {who:?}")).collect();
    if leaders.is_empty() {
        faults.push(format!("nobody was seen to lead: is there no line with {LEADS:?} any more?"));
    }
    let (states, broken) = steps::found();
    faults.extend(broken);
    if states == LogIndex(0) {
        faults.push("no state of the namespace was looked at".to_owned());
    }
    faults
}
