//! Where the shell's lines come from, and where messages go that come by themselves: a terminal with editing and
//! history, in which messages appear above the line that is being typed; or any other input, read line by line.

use super::order::COMMANDS;
use parking_lot::Mutex;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, ExternalPrinter, Helper};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 1000;

/// Completes the names of commands.
struct Commands;

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

/// Prints messages of whole lines, from any thread.
#[derive(Clone)]
pub struct Printer(Arc<Mutex<Option<Box<dyn ExternalPrinter + Send>>>>);

impl Printer {
    /// Prints one message.
    pub fn print(&self, message: &str) {
        let printed = self.0.lock().as_mut().map(|printer| printer.print(format!("{message}\n")));
        if !matches!(printed, Some(Ok(()))) {
            println!("{message}");
        }
    }
}

impl Lines {
    /// Standard input: edited if it is a terminal.
    pub fn open(cluster: &str) -> Lines {
        let plain = || Lines {
            source: Source::Input { input: io::stdin().lock(), number: 0, broken: false },
            printer: Printer(Arc::default()),
        };
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return plain();
        }
        let config = Config::builder().max_history_size(HISTORY_MAX).map(|builder| builder.auto_add_history(true));
        let Ok(Ok(mut editor)) = config.map(|builder| Editor::with_config(builder.build())) else { return plain() };
        editor.set_helper(Some(Commands));
        let history = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".raidfs_history"));
        if let Some(path) = &history {
            // There is none before the first time.
            let _ = editor.load_history(path);
        }
        let external = editor.create_external_printer().ok().map(|p| Box::new(p) as Box<dyn ExternalPrinter + Send>);
        let printer = Printer(Arc::new(Mutex::new(external)));
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
                match editor.readline(prompt) {
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
impl Highlighter for Commands {}
impl Validator for Commands {}
impl Helper for Commands {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_text_is_said_and_those_behind_it_are_read() {
        let mut input = &b"ls\nmkdir /\xff\nstatus"[..];
        assert_eq!(read_line(&mut input, 1).unwrap().unwrap(), "ls\n");
        assert!(matches!(read_line(&mut input, 2), Err(BadInput::NotText(2))));
        assert_eq!(read_line(&mut input, 3).unwrap().unwrap(), "status");
        assert!(read_line(&mut input, 4).unwrap().is_none());
    }
}
