//! Guesses when a file is about to be synced, from how it was synced before: a log or a database writes so many times,
//! syncs, and does the same again. Bytes that are expected to be synced leave when they are written, and are on their
//! way while the program comes round to asking for it. Pure.

/// Agreeing rounds before a sync is expected.
const SURE: u8 = 2;
/// A round that does not agree takes one away: so many are remembered.
const SURE_MAX: u8 = 4;

/// How often a file is written to between two syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rhythm {
    /// Writes since the last sync.
    writes: u32,
    /// Writes before it, as far as rounds agree.
    beat: u32,
    /// How sure that is.
    sure: u8,
}

impl Rhythm {
    /// A write. True: a sync is expected to be next.
    pub fn wrote(&mut self) -> bool {
        self.writes = self.writes.saturating_add(1);
        self.sure >= SURE && self.writes == self.beat
    }

    /// A sync. One that follows another at once, as several writers of one file cause, says nothing.
    pub fn synced(&mut self) {
        let writes = std::mem::take(&mut self.writes);
        if writes == 0 {
            return;
        }
        if writes == self.beat {
            self.sure = (self.sure + 1).min(SURE_MAX);
        } else if self.sure == 0 {
            self.beat = writes;
        } else {
            self.sure -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `w` (a write) and `s` (a sync); gives the writes after which a sync was expected, from 1.
    fn expected(played: &str) -> Vec<usize> {
        let mut rhythm = Rhythm::default();
        let mut writes = 0;
        let mut expected = Vec::new();
        for step in played.bytes() {
            if step == b's' {
                rhythm.synced();
                continue;
            }
            writes += 1;
            if rhythm.wrote() {
                expected.push(writes);
            }
        }
        expected
    }

    #[test]
    fn a_sync_is_expected_where_the_last_ones_were() {
        assert_eq!(expected("wswswsws"), [4], "after the third that agrees");
        assert_eq!(expected("wwswwswwswws"), [8], "with two writes each, after the second");
        assert_eq!(expected("wwwwwwww"), [0usize; 0]);
        assert_eq!(expected("wswwswwwswwwws"), [0usize; 0], "no two rounds are alike");
    }

    #[test]
    fn a_round_that_differs_is_forgiven_and_a_new_rhythm_learnt() {
        assert_eq!(expected("wswswswswwswsws"), [4, 5, 7, 8]);
        assert_eq!(expected("wswswswwwwwwwwwwwwwwww"), [4], "whoever stops to sync costs one push");
        let new = "wswswsws".to_owned() + &"wws".repeat(8);
        assert!(expected(&new).ends_with(&[18, 20]));
    }

    #[test]
    fn syncs_with_nothing_between_say_nothing() {
        assert_eq!(expected("wsssswsssswssssws"), [4]);
    }
}
