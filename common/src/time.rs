//! A file's time stamps: nanoseconds, before 1970 and after 2106.

use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time as `struct timespec` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// 0 to 999,999,999, counted forwards also before 1970.
    pub nanos: u32,
}

impl Time {
    /// The same point for the standard library; clamped to what it can express.
    pub fn to_system(self) -> SystemTime {
        let base = if self.secs >= 0 {
            UNIX_EPOCH.checked_add(Duration::from_secs(self.secs.unsigned_abs()))
        } else {
            UNIX_EPOCH.checked_sub(Duration::from_secs(self.secs.unsigned_abs()))
        };
        base.and_then(|t| t.checked_add(Duration::from_nanos(self.nanos.into()))).unwrap_or(UNIX_EPOCH)
    }
}

impl From<SystemTime> for Time {
    fn from(t: SystemTime) -> Time {
        match t.duration_since(UNIX_EPOCH) {
            Ok(d) => Time { secs: d.as_secs() as i64, nanos: d.subsec_nanos() },
            Err(e) => {
                let d = e.duration();
                match d.subsec_nanos() {
                    // The first second that there is has no positive counterpart.
                    0 => Time { secs: (d.as_secs() as i64).wrapping_neg(), nanos: 0 },
                    n => Time { secs: -(d.as_secs() as i64) - 1, nanos: 1_000_000_000 - n },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_count_nanoseconds_forwards() {
        let t = Time { secs: -2, nanos: 999_999_999 };
        assert_eq!(Time::from(t.to_system()), t);
        let t = Time { secs: 5_000_000_000, nanos: 1 };
        assert_eq!(Time::from(t.to_system()), t);
        assert_eq!(Time::from(UNIX_EPOCH), Time::default());
        for secs in [i64::MIN, i64::MAX] {
            let t = Time { secs, nanos: 0 };
            assert_eq!(Time::from(t.to_system()), t);
        }
    }
}
