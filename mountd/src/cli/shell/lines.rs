//! Where the shell's lines come from, and where messages go that come by themselves: a terminal with editing and
//! history, in which messages appear above the line that is being typed; or any other input, read line by line.

use super::super::terminal::columns;
use super::order::COMMANDS;
use parking_lot::Mutex;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 1000;

/// What stands on the terminal while a line is typed.
#[derive(Debug, Default)]
struct Typing {
    prompt: String,
    line: String,
    /// The cursor stands before this byte of it.
    at: usize,
}

impl Typing {
    /// What puts a message of whole lines above it on a terminal so wide: the line goes, and is written anew.
    fn below(&self, message: &str, columns: usize) -> String {
        let (before, behind) = self.line.split_at(self.at);
        let rows = (self.prompt.chars().count() + before.chars().count()) / columns.max(1);
        let up = if rows > 0 { format!("\x1b[{rows}A") } else { String::new() };
        let message = message.replace('\n', "\r\n");
        // To the line's beginning, all below it erased; the cursor's place is kept while what is behind it is written.
        format!("{up}\r\x1b[J{message}\r\n{}{before}\x1b7{behind}\x1b8", self.prompt)
    }
}

/// Completes the names of commands, and sees what is typed.
struct Commands(Arc<Mutex<Option<Typing>>>);

/// Lines, until there are no more.
pub struct Lines {
    source: Source,
    printer: Printer,
}

enum Source {
    Terminal { editor: Box<Editor<Commands, FileHistory>>, prompt: String, history: Option<PathBuf> },
    Input { input: io::StdinLock<'static>, number: u64, broken: bool },
}

/// Why there is no line where there should be one.
#[derive(Debug, thiserror::Error)]
pub enum BadInput {
    /// The commands are text. Whoever has other names uses a mount.
    #[error("line {0} is not UTF-8 and was not run; names that are not can be reached through a mount")]
    NotText(u64),
    /// The same of what was typed.
    #[error("what was typed is not UTF-8 and was not run; names that are not can be reached through a mount")]
    NotTyped,
    /// There is nothing behind it, either.
    #[error("cannot read the commands")]
    Broken(#[source] io::Error),
}

/// A line, without losing those behind one that is no text.
fn read_line(input: &mut impl BufRead, number: u64) -> Result<Option<String>, BadInput> {
    let mut line = Vec::new();
    match input.read_until(b'\n', &mut line) {
        Err(error) => Err(BadInput::Broken(error)),
        Ok(0) => Ok(None),
        Ok(_) => String::from_utf8(line).map(Some).map_err(|_| BadInput::NotText(number)),
    }
}

/// Prints messages of whole lines, from any thread. The editor's own way for that makes it wait for keys and messages at once,
/// and keys that came faster than it reads them lie unseen then until the next one.
#[derive(Clone)]
pub struct Printer {
    typing: Arc<Mutex<Option<Typing>>>,
    /// Somebody sits before it. Otherwise standard output is for what the commands show, which a program reads, and messages
    /// go to standard error.
    is_terminal: bool,
}

impl Printer {
    /// Prints one message.
    pub fn print(&self, message: &str) {
        let typing = self.typing.lock();
        let Some(typing) = &*typing else {
            if self.is_terminal {
                println!("{message}")
            } else {
                eprintln!("{message}")
            }
            return;
        };
        let mut out = io::stdout().lock();
        // Whoever closed the terminal misses nothing.
        let _ = out.write_all(typing.below(message, columns(&out).unwrap_or(80)).as_bytes()).and_then(|()| out.flush());
    }
}

impl Lines {
    /// Standard input: edited if it is a terminal.
    pub fn open(cluster: &str) -> Lines {
        let plain = || Lines {
            source: Source::Input { input: io::stdin().lock(), number: 0, broken: false },
            printer: Printer { typing: Arc::default(), is_terminal: false },
        };
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return plain();
        }
        let config = Config::builder().max_history_size(HISTORY_MAX).map(|builder| builder.auto_add_history(true));
        let Ok(Ok(mut editor)) = config.map(|builder| Editor::with_config(builder.build())) else { return plain() };
        let printer = Printer { typing: Arc::default(), is_terminal: true };
        editor.set_helper(Some(Commands(printer.typing.clone())));
        let history = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".raidfs_history"));
        if let Some(path) = &history {
            // There is none before the first time.
            let _ = editor.load_history(path);
        }
        let prompt = format!("{cluster}> ");
        Lines { source: Source::Terminal { editor: Box::new(editor), prompt, history }, printer }
    }

    /// Where messages go.
    pub fn printer(&self) -> Printer {
        self.printer.clone()
    }

    /// Whether somebody sits before it.
    pub fn is_terminal(&self) -> bool {
        matches!(self.source, Source::Terminal { .. })
    }

    /// The next line, or what is wrong with it; None at the end of input. Ctrl-C gives a line up, Ctrl-D ends.
    pub fn next(&mut self) -> Option<Result<String, BadInput>> {
        match &mut self.source {
            Source::Terminal { editor, prompt, history } => loop {
                *self.printer.typing.lock() = Some(Typing { prompt: prompt.clone(), ..Typing::default() });
                let read = editor.readline(prompt);
                *self.printer.typing.lock() = None;
                match read {
                    Ok(line) => {
                        // At once, as a signal or the end of the terminal ends the program without another word. A history
                        // that cannot be kept is no reason to complain.
                        if let Some(path) = history {
                            let _ = editor.append_history(path);
                        }
                        return Some(Ok(line));
                    }
                    Err(ReadlineError::Interrupted) => {}
                    Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        return Some(Err(BadInput::NotTyped));
                    }
                    Err(_) => return None,
                }
            },
            Source::Input { input, number, broken } => {
                if *broken {
                    return None;
                }
                *number += 1;
                let read = read_line(input, *number).transpose();
                *broken = matches!(read, Some(Err(BadInput::Broken(_))));
                read
            }
        }
    }
}

impl Completer for Commands {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..at];
        let fitting = COMMANDS.iter().map(|(name, ..)| format!("{name} ")).filter(|name| name.starts_with(typed));
        Ok((0, fitting.collect()))
    }
}

impl Hinter for Commands {
    type Hint = String;
}
impl Highlighter for Commands {
    /// Called whenever what is typed changes, or the cursor moves. Nothing is highlighted.
    fn highlight_char(&self, line: &str, at: usize, _: CmdKind) -> bool {
        if let Some(typing) = &mut *self.0.lock() {
            (typing.line, typing.at) = (line.to_owned(), at);
        }
        false
    }
}
impl Validator for Commands {}
impl Helper for Commands {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stands_above_the_line_that_is_typed() {
        let typing = Typing { prompt: "c> ".to_owned(), line: "mkdir /aé".to_owned(), at: 7 };
        assert_eq!(typing.below("one\ntwo", 80), "\r\x1b[Jone\r\ntwo\r\nc> mkdir /\x1b7aé\x1b8");
        assert!(typing.below("one", 5).starts_with("\x1b[2A\r\x1b[J"), "its beginning is two rows above the cursor");
    }

    #[test]
    fn a_line_that_is_no_text_is_said_and_those_behind_it_are_read() {
        let mut input = &b"ls\nmkdir /\xff\nstatus"[..];
        assert_eq!(read_line(&mut input, 1).unwrap().unwrap(), "ls\n");
        assert!(matches!(read_line(&mut input, 2), Err(BadInput::NotText(2))));
        assert_eq!(read_line(&mut input, 3).unwrap().unwrap(), "status");
        assert!(read_line(&mut input, 4).unwrap().is_none());
    }
}
