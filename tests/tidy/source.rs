//! The tree's source files, with comments and strings blanked out where a rule looks at code only.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the repository").to_owned()
}

/// One file.
pub struct Source {
    /// Its path from the root.
    pub path: String,
    /// As it is.
    pub text: String,
}

/// A function found in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Lines from `fn` to its closing brace.
    pub lines: usize,
}

/// All files below `folders` whose name ends so, in order.
pub fn files(folders: &[&str], ending: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        walk(&root().join(folder), ending, &mut found);
    }
    found.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let path = path.strip_prefix(root()).expect("found below the root").to_string_lossy().into_owned();
        Source { path, text }
    };
    found.into_iter().map(read).collect()
}

/// All Rust files of the workspace.
pub fn rust() -> Vec<Source> {
    files(&["common", "fsd", "mountd", "tests"], ".rs")
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            walk(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

impl Source {
    /// Its lines before the first inline test module: what the rules on code look at.
    pub fn code(&self) -> String {
        let blank = blank(&self.text);
        let end = blank.find("#[cfg(test)]\nmod ").filter(|at| {
            // `mod x;` is a file of its own; only an inline module ends the code.
            blank[*at..].lines().nth(1).is_some_and(|l| l.ends_with('{'))
        });
        blank[..end.unwrap_or(blank.len())].to_owned()
    }

    /// Whether the whole file is a test.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_test.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.ends_with("/testing.rs")
            || self.path.contains("/tests/")
    }
}

/// The text with comments, strings and character literals blanked out, line by line the same length in lines.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let keep = |out: &mut String, from: usize, to: usize| {
        out.extend(text[from..to].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    };
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            at + rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            at + rest.find("*/").map_or(rest.len(), |n| n + 2)
        } else if let Some(hashes) = raw_string(rest, at > 0 && is_word(bytes[at - 1])) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').expect("a raw string has a quote") + 1;
            at + rest[open..].find(&close).map_or(rest.len(), |n| open + n + close.len())
        } else if rest.starts_with('"') {
            at + string_end(rest)
        } else if let Some(length) = character(rest) {
            at + length
        } else {
            let c = rest.chars().next().expect("not at the end");
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        keep(&mut out, at, end);
        at = end;
    }
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The number of hashes, if a raw string begins here.
fn raw_string(rest: &str, in_word: bool) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word)?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string_end(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    let mut end = (at + 1).min(rest.len());
    while !rest.is_char_boundary(end) {
        end += 1;
    }
    end
}

/// The length of the character literal that begins here; lifetimes are none.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices();
    if chars.next()?.1 != '\'' {
        return None;
    }
    if chars.next()?.1 == '\\' {
        return rest[3..].find('\'').map(|n| n + 4);
    }
    let (at, close) = chars.next()?;
    (close == '\'').then_some(at + 1)
}

/// The functions of blanked code with their lengths.
pub fn functions(code: &str) -> Vec<Function> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let mut depth = 0usize;
        let mut opened = false;
        'lines: for (offset, line) in lines[first..].iter().enumerate() {
            for c in line.chars() {
                match c {
                    '{' => (depth, opened) = (depth + 1, true),
                    '}' => depth = depth.saturating_sub(1),
                    ';' if !opened => break 'lines,
                    _ => {}
                }
                if opened && depth == 0 {
                    found.push(Function { name: name.to_owned(), lines: offset + 1 });
                    break 'lines;
                }
            }
        }
    }
    found
}

/// The name of the function that this line declares.
fn function_name(line: &str) -> Option<&str> {
    let at = line.find("fn ")?;
    let before = line[..at].trim_start();
    let modifiers = ["pub", "async", "unsafe", "const", "extern", "default"];
    let known = before.split_whitespace().all(|w| modifiers.iter().any(|m| w.starts_with(m)) || w.starts_with("(in"));
    let name = line[at + 3..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (known && !name.is_empty()).then_some(name)
}

#[test]
fn comments_and_strings_are_blanked() {
    let text = "let a = \"x // \\\" fn y() {\"; // fn z() {\nlet c = '{'; let d: &'static str = r#\"\"}\"#;\n";
    let blanked = blank(text);
    assert_eq!(blanked.lines().count(), 2);
    assert!(!blanked.contains('{') && !blanked.contains('}') && !blanked.contains("fn"), "{blanked}");
    assert!(blanked.contains("&'static str ="), "{blanked}");
}

#[test]
fn function_lengths_are_counted() {
    let code = "pub async fn a(x: u8) -> u8\nwhere\n{\n  if x { 1 }\n}\nfn b();\ntype F = fn (u8);\n    fn c() {}\n";
    let lengths: Vec<(String, usize)> = functions(code).into_iter().map(|f| (f.name, f.lines)).collect();
    assert_eq!(lengths, [("a".to_owned(), 5), ("c".to_owned(), 1)]);
}
