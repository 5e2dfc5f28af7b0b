//! Files that are held open after their names are gone, and written and read all the time: what a program does with its
//! temporary files, whatever becomes of the servers meanwhile.

use super::dice::Dice;
use super::{Found, demand, listen, told_to_end, tried};
use crate::wait::rest_of;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

/// Bytes that a round writes, and reads, of each file.
const PIECE_MAX: u64 = 200_000;
/// How much longer than it was at the beginning a file may become.
const GROWTH: u64 = 300_000;
/// A round of all files takes no less, so that the machine does other things, too.
const PERIOD: Duration = Duration::from_millis(20);

struct Nameless {
    name: String,
    file: File,
    /// Another descriptor, past the kernel's cache: servers answer each read of it.
    past: File,
    /// What it must hold.
    holds: Vec<u8>,
    longest: u64,
}

/// Opens and unlinks the files, says `ready`, and until told writes, cuts, syncs and reads them; prints the number of each
/// round once all was as it should be. At the end it reads all of them whole.
pub fn run(names: &[&str]) -> Found {
    listen();
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut files = names.iter().map(|name| Nameless::take(name)).collect::<Result<Vec<_>, _>>()?;
    demand(!files.is_empty(), "there is no file to hold")?;
    println!("ready");
    let mut round = 0u64;
    while !told_to_end() {
        let began = Instant::now();
        for file in &mut files {
            file.round(&mut dice)?;
        }
        round += 1;
        println!("{round}");
        rest_of(PERIOD, began);
    }
    files.iter().try_for_each(Nameless::whole)
}

impl Nameless {
    fn take(name: &str) -> Result<Nameless, String> {
        let file = tried(name, OpenOptions::new().read(true).write(true).open(name))?;
        let past = tried(name, OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(name))?;
        let holds = tried(name, fs::read(name))?;
        tried(format!("unlink {name}"), fs::remove_file(name))?;
        let longest = holds.len() as u64 + GROWTH;
        Ok(Nameless { name: name.to_owned(), file, past, holds, longest })
    }

    fn round(&mut self, dice: &mut Dice) -> Found {
        let at = dice.below(self.longest - PIECE_MAX);
        let length = 1 + dice.below(PIECE_MAX);
        match dice.below(20) {
            0 => self.cut(self.longest - GROWTH + dice.below(GROWTH))?,
            _ => self.write(at, &dice.bytes(length as usize))?,
        }
        if dice.below(8) == 0 {
            tried(format!("fsync {}", self.name), self.file.sync_all())?;
        }
        let at = dice.below(self.holds.len() as u64);
        let length = PIECE_MAX.min(self.holds.len() as u64 - at) as usize;
        self.compare(&self.past, at, length)?;
        self.compare(&self.file, at, length)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Found {
        tried(format!("write {}", self.name), self.file.write_all_at(bytes, at))?;
        let (from, to) = (at as usize, at as usize + bytes.len());
        if self.holds.len() < to {
            self.holds.resize(to, 0);
        }
        self.holds[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn cut(&mut self, length: u64) -> Found {
        tried(format!("cut {}", self.name), self.file.set_len(length))?;
        self.holds.resize(length as usize, 0);
        Ok(())
    }

    fn compare(&self, by: &File, at: u64, length: usize) -> Found {
        let mut bytes = vec![0; length];
        tried(format!("read {} bytes of {} at {at}", length, self.name), by.read_exact_at(&mut bytes, at))?;
        let wanted = &self.holds[at as usize..at as usize + length];
        let differs = bytes.iter().zip(wanted).position(|(got, wanted)| got != wanted);
        demand(differs.is_none(), format!("{} differs at {at} and {differs:?} bytes", self.name))
    }

    /// All of it, its length, and that it has no name.
    fn whole(&self) -> Found {
        let meta = tried(format!("fstat {}", self.name), self.file.metadata())?;
        let (length, links) = (self.holds.len(), meta.nlink());
        demand(meta.len() == length as u64, format!("{} is {} bytes long, not {length}", self.name, meta.len()))?;
        demand(links == 0, format!("{} has {links} links", self.name))?;
        self.compare(&self.past, 0, length)
    }
}
