//! The names, paths and targets that histories are made of. Few, so that they meet again; and readable in a history,
//! which is text, though names are bytes: `{255}` is a name of 255 bytes, `{bad}` one that is no UTF-8.

use super::side::Side;
use super::sys::Call;
use crate::dice::Dice;
use serde::{Deserialize, Serialize};
use std::ffi::CString;

/// Where an operation looks for a path: from the root of the tree, or from an open directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// The descriptor slot to begin at, for the `*at` calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u8>,
    /// The path, as [`bytes()`] reads it.
    pub path: String,
}

/// What an operation on attributes is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// What a path leads to.
    Path(Spot),
    /// What a path names, a symbolic link itself if it is one.
    Link(Spot),
    /// What is open in a slot.
    Slot(u8),
}

const NAMES: [(u64, &str); 13] = [
    (20, "a"),
    (20, "b"),
    (14, "c"),
    (14, "d"),
    (10, "e"),
    (3, "{255}"),
    (2, "{256}"),
    (3, "{bad}"),
    (2, "{comb}"),
    (2, "."),
    (4, ".."),
    (1, "{long dots}"),
    (2, "a.b c"),
];

/// The text of a history as the bytes of a path.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.extend_from_slice(before.as_bytes());
        let (word, behind) = after.split_once('}').unwrap_or((after, ""));
        match word {
            "bad" => out.extend_from_slice(b"\xff\xfe\x80"),
            "comb" => out.extend_from_slice("e\u{301}".as_bytes()),
            "long dots" => out.extend_from_slice(b"..."),
            number => out.extend(std::iter::repeat_n(b'n', number.parse().unwrap_or(0))),
        }
        rest = behind;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// The same for a system call.
pub fn c_path(text: &str) -> CString {
    CString::new(bytes(text)).expect("no path of a history has a NUL")
}

/// A path of one to three names.
pub fn path(dice: &mut Dice) -> String {
    if dice.percent(1) {
        return dice.pick(&["", "/", "//a", "a/", "d//b", "d/./b", "{4096}"]).to_owned();
    }
    let depth = dice.weighed(&[(52, 1), (36, 2), (12, 3)]);
    let mut path = String::new();
    for at in 1..=depth {
        let last = at == depth;
        // Directories have names that files seldom have, or most walks would end at once.
        let name = if !last && dice.percent(85) { dice.pick(&["d", "e"]) } else { dice.weighed(&NAMES) };
        path.push_str(name);
        if !last {
            path.push('/');
        }
    }
    if dice.percent(2) {
        path.push('/');
    }
    path
}

/// A path for a new directory: one that walks begin with.
pub fn dir_path(dice: &mut Dice) -> String {
    if dice.percent(25) {
        return path(dice);
    }
    dice.pick(&["d", "e", "d/d", "d/e", "e/d", "e/e", "d/e/d"]).to_owned()
}

/// A path that there is, more often than not, since histories furnish their trees with these.
pub fn likely(dice: &mut Dice) -> Spot {
    Spot::at(dice.pick(&["a", "b", "c", "d/a", "d/b", "e/a", "e/c", "d/e/a", "e/d/b"]))
}

/// What is to be moved, linked, or read.
pub fn source(dice: &mut Dice) -> Spot {
    match dice.below(10) {
        0..=4 => likely(dice),
        5 => Spot::at(&dir_path(dice)),
        _ => spot(dice),
    }
}

/// A target for a symbolic link.
pub fn target(dice: &mut Dice) -> String {
    match dice.below(20) {
        0 => "{4095}".to_owned(),
        1 => "{4094}".to_owned(),
        2 => "{60}".to_owned(),
        3 => "{59}".to_owned(),
        4 => format!("/{}", path(dice)),
        5 => String::new(),
        _ => path(dice),
    }
}

/// A spot; mostly from the root of the tree.
pub fn spot(dice: &mut Dice) -> Spot {
    Spot { base: dice.percent(6).then(|| slot(dice)), path: path(dice) }
}

/// A descriptor slot.
pub fn slot(dice: &mut Dice) -> u8 {
    dice.below(super::side::SLOTS as u64) as u8
}

/// What an operation on attributes is about.
pub fn subject(dice: &mut Dice) -> Subject {
    match dice.below(10) {
        0..=5 => Subject::Path(spot(dice)),
        6..=7 => Subject::Link(spot(dice)),
        _ => Subject::Slot(slot(dice)),
    }
}

impl Spot {
    /// From the root of the tree.
    pub fn at(path: &str) -> Spot {
        Spot { base: None, path: path.to_owned() }
    }

    /// The descriptor to begin at.
    pub fn dirfd(&self, side: &Side) -> i32 {
        self.base.map_or(libc::AT_FDCWD, |slot| side.fd(slot))
    }

    /// The directory that holds the last name, by the letters of the path.
    pub fn parent(&self) -> Spot {
        let trimmed = self.path.trim_end_matches('/');
        let path = match trimmed.rfind('/') {
            Some(0) => "/".to_owned(),
            Some(at) => trimmed[..at].to_owned(),
            None => ".".to_owned(),
        };
        Spot { base: self.base, path }
    }
}

impl Subject {
    /// Calls what is right for it: by descriptor, or by directory, path and flags.
    pub fn with(
        &self,
        side: &Side,
        by_fd: impl FnOnce(i32) -> Call,
        by_path: impl FnOnce(i32, *const i8, i32) -> Call,
    ) -> Call {
        match self {
            Subject::Slot(slot) => by_fd(side.fd(*slot)),
            Subject::Path(spot) => {
                let path = c_path(&spot.path);
                by_path(spot.dirfd(side), path.as_ptr(), 0)
            }
            Subject::Link(spot) => {
                let path = c_path(&spot.path);
                by_path(spot.dirfd(side), path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW)
            }
        }
    }
}

#[test]
fn histories_name_every_byte() {
    assert_eq!(bytes("d/{bad}"), b"d/\xff\xfe\x80");
    assert_eq!(bytes("{255}").len(), 255);
    assert_eq!(bytes("{comb}/x"), b"e\xcc\x81/x");
    assert_eq!(Spot::at("d/e/").parent(), Spot::at("d"));
    assert_eq!(Spot::at("d").parent(), Spot::at("."));
}
