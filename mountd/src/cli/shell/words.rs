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
        assert_eq!(split("rm 'a"), Err(BadLine::Open('\'')));
        assert_eq!(split("rm a\\"), Err(BadLine::Backslash));
    }
}
