//! What a line of the shell says to do: the commands, their arguments, their help. Pure.

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Makes a directory.
    Mkdir(String),
    /// Makes an empty file.
    Create(String),
    /// Gives something another name.
    Mv(String, String),
    /// Shows a file.
    Read(String),
    /// Makes a file contain a text.
    Write {
        /// The file.
        path: String,
        /// The text.
        text: String,
        /// Behind what is there, instead of in its place.
        append: bool,
    },
    /// Shows the servers, and what each one holds.
    Status,
    /// Removes something.
    Rm {
        /// What.
        path: String,
        /// A directory with all that is in it.
        all: bool,
    },
    /// Lists a directory.
    Ls {
        /// Which one.
        path: String,
        /// With sizes and times.
        long: bool,
    },
    /// Shows which servers hold a file.
    Where(String),
    /// Explains.
    Help,
    /// Ends the shell.
    Quit,
}

/// Name, arguments and purpose of each command, as `help` shows them.
pub const COMMANDS: [(&str, &str, &str); 11] = [
    ("mkdir", "PATH", "make a directory"),
    ("create", "PATH", "make an empty file, on the pair whose turn it is"),
    ("mv", "OLD NEW", "rename, replacing what is there; into NEW if that is a directory"),
    ("read", "PATH", "show what a file contains"),
    ("write", "[-a] PATH TEXT", "make a file contain the text (-a: add it to the end), making it if there is none"),
    ("status", "", "show the servers, and what each one holds"),
    ("rm", "[-r] PATH", "remove a file or an empty directory (-r: and all that is in it)"),
    ("ls", "[-l] [PATH]", "list a directory (-l: with kind, size and time)"),
    ("where", "PATH", "show which servers hold a file"),
    ("help", "", "show this"),
    ("quit", "", "end the shell (also: exit, the end of input)"),
];

/// Why words are no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misused {
    /// There is no such command.
    #[error("there is no command {0:?}; `help` lists them")]
    Unknown(String),
    /// Its arguments are others.
    #[error("usage: {name}{}{arguments}", if arguments.is_empty() { "" } else { " " })]
    Usage {
        /// The command.
        name: &'static str,
        /// What it takes.
        arguments: &'static str,
    },
}

impl Order {
    /// The command that `words` are; None: no words.
    pub fn parse(words: &[String]) -> Result<Option<Order>, Misused> {
        let Some((name, arguments)) = words.split_first() else { return Ok(None) };
        let (flags, arguments): (Vec<&str>, Vec<&str>) = match arguments.split_first() {
            Some((flag, rest)) if is_flag(name, flag) => (vec![flag], rest.iter().map(String::as_str).collect()),
            _ => (Vec::new(), arguments.iter().map(String::as_str).collect()),
        };
        let flagged = !flags.is_empty();
        let path = |path: &str| path.to_owned();
        let order = match (name.as_str(), arguments.as_slice()) {
            ("mkdir", [at]) => Order::Mkdir(path(at)),
            ("create", [at]) => Order::Create(path(at)),
            ("mv", [from, to]) => Order::Mv(path(from), path(to)),
            ("read", [at]) => Order::Read(path(at)),
            ("write", [at, text @ ..]) if !text.is_empty() => {
                Order::Write { path: path(at), text: text.join(" "), append: flagged }
            }
            ("status", []) => Order::Status,
            ("rm", [at]) => Order::Rm { path: path(at), all: flagged },
            ("ls", []) => Order::Ls { path: "/".into(), long: flagged },
            ("ls", [at]) => Order::Ls { path: path(at), long: flagged },
            ("where", [at]) => Order::Where(path(at)),
            ("help", []) => Order::Help,
            ("quit" | "exit", []) => Order::Quit,
            _ => return Err(Order::misused(name)),
        };
        Ok(Some(order))
    }

    fn misused(name: &str) -> Misused {
        match COMMANDS.iter().find(|(known, ..)| *known == name) {
            Some((name, arguments, _)) => Misused::Usage { name, arguments },
            None => Misused::Unknown(name.to_owned()),
        }
    }

    /// Its first word.
    pub fn name(&self) -> &'static str {
        match self {
            Order::Mkdir(_) => "mkdir",
            Order::Create(_) => "create",
            Order::Mv(..) => "mv",
            Order::Read(_) => "read",
            Order::Write { .. } => "write",
            Order::Status => "status",
            Order::Rm { .. } => "rm",
            Order::Ls { .. } => "ls",
            Order::Where(_) => "where",
            Order::Help => "help",
            Order::Quit => "quit",
        }
    }

    /// Whether it changes the store.
    pub fn changes(&self) -> bool {
        matches!(self, Order::Mkdir(_) | Order::Create(_) | Order::Mv(..) | Order::Write { .. } | Order::Rm { .. })
    }
}

fn is_flag(name: &str, word: &str) -> bool {
    matches!((name, word), ("write", "-a") | ("rm", "-r") | ("ls", "-l"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Order>, Misused> {
        Order::parse(&super::super::words::split(line).unwrap())
    }

    #[test]
    fn every_command_is_understood_and_listed() {
        let lines = [
            "mkdir /a",
            "create /a/f",
            "mv /a/f /g",
            "read /g",
            "write /g text",
            "status",
            "rm /g",
            "ls",
            "where /g",
            "help",
            "quit",
        ];
        for (line, (name, ..)) in lines.iter().zip(COMMANDS) {
            assert_eq!(parse(line).unwrap().unwrap().name(), name);
        }
        let write = Order::Write { path: "/g".into(), text: "two words".into(), append: true };
        assert_eq!(parse("write -a /g two words"), Ok(Some(write)));
        assert_eq!(parse("rm -r /a"), Ok(Some(Order::Rm { path: "/a".into(), all: true })));
        assert_eq!(parse("exit"), Ok(Some(Order::Quit)));
        assert_eq!(parse(" # nothing"), Ok(None));
    }

    #[test]
    fn what_is_no_command_is_explained() {
        assert_eq!(parse("format /"), Err(Misused::Unknown("format".into())));
        for line in ["mkdir", "mkdir a b", "mv a", "write /a", "status now", "ls a b", "rm -f a"] {
            assert!(matches!(parse(line), Err(Misused::Usage { .. })), "{line}");
        }
        assert_eq!(parse("help write").unwrap_err().to_string(), "usage: help");
        assert!(parse("mkdir").unwrap_err().to_string().starts_with("usage: mkdir "));
    }
}
