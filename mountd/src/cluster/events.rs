//! Which servers are reached, and the news of it: one log line and one event each. Told by `connection`;
//! read by the router, the shell and `status`.

use parking_lot::Mutex;
use raidfs_common::id::ServerId;
use std::collections::BTreeMap;
use std::fmt;
use tokio::sync::{broadcast, watch};

/// Events that a slow listener may be behind before it misses some.
const EVENTS_KEPT: usize = 256;

/// What happened to the connection with a server. Prints itself as the shell and the log say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// It was reached for the first time.
    Reached(ServerId),
    /// All connections to it broke.
    Lost(ServerId),
    /// It was reached again.
    Back(ServerId),
}

impl fmt::Display for ServerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerEvent::Reached(server) => write!(f, "connection established to {server}"),
            ServerEvent::Lost(server) => write!(f, "connection lost to {server}"),
            ServerEvent::Back(server) => write!(f, "{server} is back"),
        }
    }
}

#[derive(Debug, Default)]
struct Presence {
    connections: usize,
    was_reached: bool,
}

/// Counts connections by server.
#[derive(Debug)]
pub struct Attendance {
    servers: Mutex<BTreeMap<ServerId, Presence>>,
    events: broadcast::Sender<ServerEvent>,
    /// Grows with each connection that comes or goes.
    changes: watch::Sender<u64>,
}

impl Default for Attendance {
    fn default() -> Self {
        Attendance {
            servers: Mutex::new(BTreeMap::new()),
            events: broadcast::Sender::new(EVENTS_KEPT),
            changes: watch::Sender::new(0),
        }
    }
}

impl Attendance {
    /// A connection was made. Returns whether it is the server's only one.
    pub fn came(&self, server: ServerId) -> bool {
        let mut servers = self.servers.lock();
        let presence = servers.entry(server).or_default();
        presence.connections += 1;
        let first = presence.connections == 1;
        if first {
            let event = if presence.was_reached { ServerEvent::Back(server) } else { ServerEvent::Reached(server) };
            presence.was_reached = true;
            tracing::info!("{event}");
            // Nobody listening is fine.
            let _ = self.events.send(event);
        }
        drop(servers);
        self.changes.send_modify(|n| *n += 1);
        first
    }

    /// A connection broke. Returns whether it was the server's last one.
    pub fn went(&self, server: ServerId) -> bool {
        let mut servers = self.servers.lock();
        let presence = servers.entry(server).or_default();
        presence.connections = presence.connections.saturating_sub(1);
        let last = presence.connections == 0;
        if last {
            let event = ServerEvent::Lost(server);
            tracing::warn!("{event}");
            let _ = self.events.send(event);
        }
        drop(servers);
        self.changes.send_modify(|n| *n += 1);
        last
    }

    /// A connection was closed by us: no news.
    pub fn went_quietly(&self, server: ServerId) {
        if let Some(presence) = self.servers.lock().get_mut(&server) {
            presence.connections = presence.connections.saturating_sub(1);
        }
    }

    /// Whether there is a connection to the server.
    pub fn is_here(&self, server: ServerId) -> bool {
        self.servers.lock().get(&server).is_some_and(|p| p.connections > 0)
    }

    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<ServerEvent> {
        self.events.subscribe()
    }

    /// A receiver that wakes whenever a connection comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_for_a_server_however_many_connections_it_has() {
        let attendance = Attendance::default();
        let mut events = attendance.subscribe();
        let two = ServerId(2);
        for _ in 0..2 {
            attendance.came(two);
            attendance.came(two);
            attendance.went(two);
            assert!(attendance.is_here(two));
            attendance.went(two);
            assert!(!attendance.is_here(two));
        }
        let mut lines = Vec::new();
        while let Ok(event) = events.try_recv() {
            lines.push(event.to_string());
        }
        let lost = "connection lost to fsd2";
        assert_eq!(lines, ["connection established to fsd2", lost, "fsd2 is back", lost]);
    }
}
