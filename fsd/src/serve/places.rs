//! The places for connections: so many, and no more. Once all are taken, whoever comes may still be let in: in the place of a
//! connection of the address that holds most of them, so that no machine keeps the others out; or of one that has asked
//! nothing for a while, so that connections which are opened and then left alone keep nobody out either. Who lives, and is
//! let go by this, connects again as soon as it wants something.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A connection that has asked nothing for so long may have to make room for another one.
const IDLE: Duration = Duration::from_secs(3);

/// A connection's part of the table.
#[derive(Debug)]
struct Held {
    from: IpAddr,
    /// When it last began or ended to ask something.
    used: Instant,
    /// Requests of it that are being served.
    serving: usize,
    wanted: Arc<Notify>,
}

/// Who has places.
#[derive(Debug)]
struct Table {
    most: usize,
    held: BTreeMap<u64, Held>,
    next: u64,
}

impl Table {
    /// Takes a place; None: there is none for this caller now.
    fn take(&mut self, from: IpAddr, now: Instant) -> Option<(u64, Arc<Notify>)> {
        if self.held.len() >= self.most {
            let number = self.who_makes_room(from, now)?;
            self.held.remove(&number)?.wanted.notify_one();
        }
        let (number, wanted) = (self.next, Arc::<Notify>::default());
        self.next += 1;
        self.held.insert(number, Held { from, used: now, serving: 0, wanted: wanted.clone() });
        Some((number, wanted))
    }

    /// Whose place a caller from this address is given.
    fn who_makes_room(&self, from: IpAddr, now: Instant) -> Option<u64> {
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        for held in self.held.values() {
            *counts.entry(held.from).or_default() += 1;
        }
        let (&heaviest, &most) = counts.iter().max_by_key(|(_, count)| **count)?;
        let longest_unused = |among: &dyn Fn(&Held) -> bool| {
            let those = self.held.iter().filter(|(_, held)| among(held));
            those.min_by_key(|(_, held)| (held.serving > 0, held.used)).map(|(number, _)| *number)
        };
        let idle = |held: &Held| held.serving == 0 && now.saturating_duration_since(held.used) >= IDLE;
        longest_unused(&|held| held.from == heaviest && idle(held)).or_else(|| {
            let gains = most > counts.get(&from).copied().unwrap_or(0) + 1;
            longest_unused(&|held| if gains { held.from == heaviest } else { idle(held) })
        })
    }

    fn uses(&mut self, number: u64, now: Instant, change: impl FnOnce(&mut usize)) {
        if let Some(held) = self.held.get_mut(&number) {
            held.used = now;
            change(&mut held.serving);
        }
    }
}

/// The places of one port.
#[derive(Clone, Debug)]
pub struct Places(Arc<Mutex<Table>>);

impl Places {
    /// So many.
    pub fn new(most: usize) -> Places {
        Places(Arc::new(Mutex::new(Table { most, held: BTreeMap::new(), next: 0 })))
    }

    /// A place for a connection from this address, if need be that of another one, which is then told; None: it is refused.
    pub fn take(&self, from: IpAddr) -> Option<Place> {
        let (number, wanted) = self.0.lock().take(from, Instant::now())?;
        Some(Place { places: self.clone(), number, wanted })
    }
}

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    number: u64,
    wanted: Arc<Notify>,
}

impl Place {
    /// By which it is told to end.
    pub fn end(&self) -> Arc<Notify> {
        self.wanted.clone()
    }

    /// Returns once another connection is given this place, or this one was told to end for another reason.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A request of this connection is served, until what is returned is dropped.
    pub fn serves(&self) -> Serving {
        let (places, number) = (self.places.clone(), self.number);
        places.0.lock().uses(number, Instant::now(), |serving| *serving += 1);
        Serving { places, number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().held.remove(&self.number);
    }
}

/// A request of a connection that is being served.
#[derive(Debug)]
pub struct Serving {
    places: Places,
    number: u64,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.places.0.lock().uses(self.number, Instant::now(), |serving| *serving = serving.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn table(most: usize) -> (Table, Instant) {
        (Table { most, held: BTreeMap::new(), next: 0 }, Instant::now())
    }

    #[test]
    fn an_address_that_holds_all_places_makes_room_for_another_but_not_for_itself() {
        let (mut table, start) = table(4);
        let all: Vec<u64> = (0..4).map(|n| table.take(A, start + Duration::from_millis(n)).unwrap().0).collect();
        assert!(table.take(A, start + IDLE / 2).is_none(), "all are in use");
        table.uses(all[0], start + IDLE / 2, |_| ());
        table.uses(all[1], start + Duration::from_millis(5), |serving| *serving += 1);
        // The one that is unused for longest goes; one that is being served goes last.
        for gone in [all[2], all[3]] {
            assert!(table.take(B, start + IDLE / 2).is_some());
            assert!(!table.held.contains_key(&gone));
        }
        assert!(table.take(B, start + IDLE / 2).is_none(), "both have the same by now");
        assert_eq!(table.held.len(), 4);
    }

    #[test]
    fn who_has_asked_nothing_for_a_while_makes_room_for_anyone() {
        let (mut table, start) = table(3);
        let [asks, left, served] = [0; 3].map(|_| table.take(A, start).unwrap());
        table.uses(served.0, start, |serving| *serving += 1);
        table.uses(asks.0, start + IDLE, |_| ());
        assert!(left.1.notified().now_or_never().is_none());
        let later = table.take(A, start + IDLE).unwrap();
        assert!(left.1.notified().now_or_never().is_some(), "it is told");
        assert!(table.take(A, start + IDLE).is_none());
        assert_eq!(table.held.keys().copied().collect::<Vec<_>>(), [asks.0, served.0, later.0]);
    }

    #[test]
    fn a_place_that_is_given_back_is_free_and_one_that_was_taken_away_is_not_given_back_twice() {
        let places = Places::new(2);
        let first = places.take(A).unwrap();
        let serving = first.serves();
        drop(first);
        drop(serving);
        let all = [places.take(A).unwrap(), places.take(A).unwrap()];
        assert!(places.take(A).is_none());
        let other = places.take(B).unwrap();
        drop(all);
        assert_eq!(places.0.lock().held.len(), 1);
        assert!(other.wanted().now_or_never().is_none());
    }
}
