//! What the leader says of servers and the witness that fall silent and are heard again: each once. Pure. Nothing is decided by
//! it; who must not serve any more is for [`super::judgement`] to say.

use raidfs_common::id::ServerId;
use raidfs_common::limits::SILENT;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// What is known of a voter at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub voter: ServerId,
    /// How long ago it was heard; None: not since this server leads, or since its process was gone.
    pub heard: Option<Duration>,
    /// Its process was seen to be gone.
    pub is_gone: bool,
}

/// A change that is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Its process has ended.
    Gone(ServerId),
    /// It has not been heard for [`SILENT`].
    Silent(ServerId),
    /// It is heard again.
    Back(ServerId),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Gone(voter) => write!(f, "{voter} is lost: its process is gone"),
            Word::Silent(voter) => write!(f, "{voter} is lost: it has not answered for {} ms", SILENT.as_millis()),
            Word::Back(voter) => write!(f, "{voter} answers again"),
        }
    }
}

/// Who is lost, as was said.
#[derive(Debug, Default)]
pub struct Presence {
    lost: BTreeSet<ServerId>,
}

impl Presence {
    /// What has changed.
    pub fn look(&mut self, sights: impl IntoIterator<Item = Sight>) -> Vec<Word> {
        let mut words = Vec::new();
        for Sight { voter, heard, is_gone } in sights {
            let is_there = heard.is_some_and(|ago| ago < SILENT);
            if is_there && self.lost.remove(&voter) {
                words.push(Word::Back(voter));
            } else if !is_there && self.lost.insert(voter) {
                words.push(if is_gone { Word::Gone(voter) } else { Word::Silent(voter) });
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: ServerId = ServerId(2);

    fn sight(heard: Option<Duration>, is_gone: bool) -> [Sight; 1] {
        [Sight { voter: WHO, heard, is_gone }]
    }

    #[test]
    fn each_loss_and_each_return_is_said_once_and_why() {
        let mut presence = Presence::default();
        let soon = Some(Duration::from_millis(20));
        assert_eq!(presence.look(sight(soon, false)), [], "it was never lost");
        assert_eq!(presence.look(sight(Some(SILENT), false)), [Word::Silent(WHO)]);
        assert_eq!(presence.look(sight(None, true)), [], "it was said already");
        assert_eq!(presence.look(sight(soon, false)), [Word::Back(WHO)]);
        assert_eq!(presence.look(sight(soon, false)), []);
        assert_eq!(presence.look(sight(None, true)), [Word::Gone(WHO)]);
    }
}
