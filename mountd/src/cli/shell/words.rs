//! A line of the shell, cut into words: blanks separate, quotes and backslashes keep. Pure.

/// Why a line is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// A quote that is not closed.
    #[error("a {0} is not closed")]
    Open(char),
    /// A backslash with nothing behind it.
    #[error("a line does not end with a backslash")]
    Backslash,
    /// Bytes by their numbers, in which no text is.
    #[error("what is between `$'` and `'` is not UTF-8; names that are not can be reached through a mount")]
    NotText,
}

/// The words of a line. `#` at the start of a word begins a comment.
pub fn split(line: &str) -> Result<Vec<String>, BadLine> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\\' => word.get_or_insert_default().push(rest.next().ok_or(BadLine::Backslash)?),
            '$' if rest.as_str().starts_with('\'') => escaped(&mut rest, word.get_or_insert_default())?,
            '"' | '\'' => quoted(c, &mut rest, word.get_or_insert_default())?,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(quote: char, rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), BadLine> {
    loop {
        match rest.next() {
            None => return Err(BadLine::Open(quote)),
            Some(c) if c == quote => return Ok(()),
            Some('\\') if quote == '"' => match rest.next().ok_or(BadLine::Backslash)? {
                'n' => word.push('\n'),
                't' => word.push('\t'),
                c => word.push(c),
            },
            Some(c) => word.push(c),
        }
    }
}

/// What is quoted as [`raidfs_common::printed`] does it, so that whatever is shown can be typed; the `$` is read.
fn escaped(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), BadLine> {
    let mut bytes = Vec::new();
    let digit = |rest: &mut std::str::Chars<'_>| {
        let digit = rest.as_str().chars().next()?.to_digit(8)?;
        rest.next();
        Some(digit)
    };
    rest.next();
    loop {
        let c = match rest.next().ok_or(BadLine::Open('\''))? {
            '\'' => break,
            '\\' => match digit(rest) {
                Some(first) => {
                    let number = (0..2).map_while(|_| digit(rest)).fold(first, |number, digit| number * 8 + digit);
                    bytes.push(number as u8);
                    continue;
                }
                None => match rest.next().ok_or(BadLine::Backslash)? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    c => c,
                },
            },
            c => c,
        };
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    word.push_str(std::str::from_utf8(&bytes).map_err(|_| BadLine::NotText)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_separate_and_quotes_keep() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("  ls\t/a  ", &["ls", "/a"]),
            ("write /a 'two  words' x", &["write", "/a", "two  words", "x"]),
            (r#"write /a "line\n\"quoted\"""#, &["write", "/a", "line\n\"quoted\""]),
            (r"rm a\ b", &["rm", "a b"]),
            ("write /a ''", &["write", "/a", ""]),
            ("ls # all of it", &["ls"]),
            ("rm a#b", &["rm", "a#b"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        for name in ["two\nlines", "\u{1b}[2J", " it's \\ ", "$'a'", "\t\r\u{7f}1\u{9b}ü"] {
            let shown = raidfs_common::printed::printed(name).to_string();
            assert!(shown.starts_with("$'"), "{shown}");
            assert_eq!(split(&format!("rm {shown}")).unwrap(), ["rm", name], "what is shown can be typed");
        }
        assert_eq!(split(r"rm $'\377'"), Err(BadLine::NotText));
        assert_eq!(split("rm $'a"), Err(BadLine::Open('\'')));
        assert_eq!(split("rm 'a"), Err(BadLine::Open('\'')));
        assert_eq!(split("rm a\\"), Err(BadLine::Backslash));
    }
}
