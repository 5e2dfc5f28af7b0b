//! Names and paths as they are printed to people: on one line, and never an order to a terminal. Programs get the bytes.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// A name as it is printed, see [`printed`].
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a>(&'a [u8]);

/// A name, a path or what else is bytes, as it is printed: as it is; or, if that could be taken for something else, quoted
/// as shells read it (`$'two\nlines'`), with escapes for all that is no text or is not seen. What begins like a quoted one is
/// quoted, too, so that nothing is ambiguous.
pub fn printed<T: AsRef<OsStr> + ?Sized>(of: &T) -> Printed<'_> {
    Printed(of.as_ref().as_bytes())
}

/// The same of bytes.
pub fn printed_bytes(of: &[u8]) -> Printed<'_> {
    Printed(of)
}

/// Whether a character does something else than to be seen where it stands: controls, what ends a line, and what changes the
/// direction of others.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl Printed<'_> {
    /// The text that may be printed as it is.
    fn plain(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.0).ok()?;
        let at_an_end = text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace);
        (!text.is_empty() && !at_an_end && !text.starts_with("$'") && !text.contains(is_unseen)).then_some(text)
    }
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.plain() {
            return f.write_str(text);
        }
        // Octal and always three digits, as shells differ in how long they take any other number to be.
        let bytes = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| bytes.iter().try_for_each(|b| write!(f, "\\{b:03o}"));
        f.write_str("$'")?;
        for part in self.0.utf8_chunks() {
            for c in part.valid().chars() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    '\\' | '\'' => write!(f, "\\{c}")?,
                    c if is_unseen(c) => bytes(f, c.encode_utf8(&mut [0; 4]).as_bytes())?,
                    c => f.write_char(c)?,
                }
            }
            bytes(f, part.invalid())?;
        }
        f.write_char('\'')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        printed_bytes(bytes).to_string()
    }

    #[test]
    fn plain_names_are_printed_as_they_are() {
        for name in ["a", "/a/b c.txt", "grün, 日本, 👩‍🚀", "it's", "$HOME", "a$'b", "back\\slash", "\"quoted\""]
        {
            assert_eq!(text(name.as_bytes()), name);
        }
    }

    #[test]
    fn what_forges_a_line_or_drives_a_terminal_is_quoted() {
        let cases: [(&[u8], &str); 10] = [
            (b"f\nok     forged", r"$'f\nok     forged'"),
            (b"\x1b[2Jgone", r"$'\033[2Jgone'"),
            (b"a\r\t\\'\x7f1", r"$'a\r\t\\\'\1771'"),
            (b"not \xff\xc3 text", r"$'not \377\303 text'"),
            ("\u{9b}2J".as_bytes(), r"$'\302\2332J'"),
            ("a\u{202e}txt.exe".as_bytes(), r"$'a\342\200\256txt.exe'"),
            (b" a", "$' a'"),
            (b"a ", "$'a '"),
            (b"$'a'", r"$'$\'a\''"),
            (b"", "$''"),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(text(bytes), wanted);
        }
    }

    #[test]
    fn no_two_names_look_alike() {
        let names: [&[u8]; 6] = [b"a\nb", b"a\\nb", b"$'a\\nb'", b"$'a\nb'", b"a\xffb", "a\u{fffd}b".as_bytes()];
        let shown: std::collections::BTreeSet<String> = names.iter().map(|name| text(name)).collect();
        assert_eq!(shown.len(), names.len());
    }
}
