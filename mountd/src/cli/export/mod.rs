//! `raidfs export`: what one server's data directory holds, with every process dead. Reads only: the names are opened
//! as a copy, because opening a store writes to it.
//!
//! Three rooms: `names` (the namespace out of the directory), [`contents`] (a file's bytes: which are here), `restore`
//! (a file system's objects made again with all that belongs to them).

mod contents;
mod names;
mod restore;

use super::args::ExportArgs;
use super::human;
use super::progress::{Progress, Unit};
use super::{Failure, local, status};
use contents::{Contents, Gone, Here};
use names::Names;
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::id::{Ino, ServerId};
use raidfs_common::pair::{CopyState, Pair};
use raidfs_common::printed::printed;
use raidfs_fsd::identity::OfflineDir;
use restore::{Made, Restorer};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One name in the tree.
#[derive(Debug)]
pub struct Found {
    /// Its path below the root, without a leading `/`.
    pub path: PathBuf,
    /// Its inode's attributes.
    pub attr: Attr,
}

/// What became of all names.
#[derive(Debug, Default)]
struct Summary {
    whole: u64,
    partial: u64,
    elsewhere: u64,
    damaged: u64,
    others: u64,
    failed: u64,
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let data = local::absolute(&args.data)?;
    if !data.is_dir() {
        return Err(Failure::NoDataDirectory(data));
    }
    if let Some(to) = &args.to {
        let place = local::absolute(to)?;
        if place.starts_with(&data) {
            return Err(Failure::IntoItself(to.clone()));
        }
        if place.ancestors().any(OfflineDir::is_made) {
            return Err(Failure::IntoData(to.clone()));
        }
        if place.exists() && !place.is_dir() {
            return Err(Failure::IntoNoDirectory(to.clone()));
        }
    }
    if !OfflineDir::is_made(&data) && data.join("raidfs.toml").is_file() {
        return Err(Failure::ClusterDirectory { example: data.join("data/fsd1"), dir: data });
    }
    if !OfflineDir::is_one_in_part(&data) {
        return Err(Failure::NotADataDirectory(data));
    }
    let dir = OfflineDir::open(&data)?;
    let identity = dir.identity().clone();
    if identity.server.is_witness() {
        return Err(Failure::NoFiles(data));
    }
    let names = Names::open(&dir)?;
    let contents = Contents::new(&dir, identity.server, names.pairs());
    eprintln!("{} of the cluster {}, names as of log entry {}", identity.server, identity.cluster, names.applied());
    if let Some(warning) = out_of_date(&names.pairs(), identity.server) {
        eprintln!("{warning}");
    }
    let mut summary = Summary::default();
    if args.list || args.to.is_none() {
        list(&names, &contents, &mut summary)?;
    }
    if let Some(to) = &args.to {
        summary = Summary::default();
        extract(&names, &contents, to, &mut summary)?;
    }
    eprintln!("{}", summary.words(&contents.mates(), args.to.as_deref()));
    Ok(if summary.damaged + summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is to be said of a copy that was not in sync by the last that its server knew.
fn out_of_date(pairs: &[Pair], server: ServerId) -> Option<String> {
    let pair = pairs.iter().find(|pair| pair.member(server).is_some())?;
    let state = pair.member(server)?.state;
    let mirror = pair.mirror_of(server)?.server;
    (state != CopyState::InSync).then(|| {
        format!(
            "this copy may be out of date: {server} was {} when it ended (the first of a pair to be stopped is, too), and \
             lacks whatever was written after that; export {mirror}'s data directory instead if there is one",
            status::copy_word(state)
        )
    })
}

impl Summary {
    fn count(&mut self, here: &Here) {
        match here {
            Here::Whole => self.whole += 1,
            Here::Partly { .. } => self.partial += 1,
            Here::Elsewhere => self.elsewhere += 1,
        }
    }

    /// Says what became of a file that was made, and counts it.
    fn add(&mut self, path: &Path, made: &Made, lost: Option<Gone>, progress: &mut Progress) {
        let path = printed(path);
        if made.there != Here::Whole {
            progress.say(format_args!("{:<12} {path}", made.there.word()));
        }
        if made.there != Here::Whole || !is_damaged(&lost) {
            self.count(&made.there);
        }
        self.damaged += u64::from(made.damaged > 0 || is_damaged(&lost));
        match lost {
            Some(gone) if gone.certain => progress.say(format_args!("DAMAGED      {path}: {gone}")),
            Some(doubt) => progress.note(format_args!("{path}: {doubt}")),
            None => {}
        }
        if made.damaged > 0 {
            progress.say(format_args!(
                "DAMAGED      {path}: {} blocks of 4 KiB do not match their checksums",
                made.damaged
            ));
        }
    }

    fn fail(&mut self, failure: &Failure, progress: &mut Progress) {
        self.failed += 1;
        progress.say(format_args!("FAILED       {}", raidfs_common::log::chain(failure)));
    }

    /// In one line: of what is here, or of what is in `to` now.
    fn words(&self, mates: &str, to: Option<&Path>) -> String {
        let place = to.map_or_else(|| "here".to_owned(), |to| format!("in {}", printed(to)));
        let mut text = format!(
            "{} files are whole {place}, {} other names (directories, links, ...)",
            human::count(self.whole),
            human::count(self.others)
        );
        if self.partial + self.elsewhere > 0 {
            let are = if to.is_some() { "still missing there" } else { "on other pairs" };
            text.push_str(&format!(
                "; {} files are {are}, {} partly: this server and its mirror ({mates}) never had those bytes; \
                 export a server of each other pair to the same directory to complete them",
                human::count(self.elsewhere),
                human::count(self.partial)
            ));
        }
        if self.damaged > 0 {
            text.push_str(&format!("; {} files have DAMAGED bytes", human::count(self.damaged)));
        }
        if self.failed > 0 {
            text.push_str(&format!(
                "; {} names could not be made again as they were, see above",
                human::count(self.failed)
            ));
        }
        text
    }
}

/// Prints one line for each name: what is here of it, its size, its path.
fn list(names: &Names, contents: &Contents, summary: &mut Summary) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut progress = Progress::beside_output("listing", Unit::Things("names"), names.count());
    names.walk(&mut |found| {
        progress.iter_mut().for_each(|progress| progress.add(1));
        let word = match found.attr.kind {
            FileKind::File => {
                let (here, gone) = contents.look(&found.attr)?;
                if let Some(gone) = &gone {
                    progress.iter_mut().for_each(Progress::wipe);
                    eprintln!("{}: {gone}", printed(&found.path));
                }
                if is_damaged(&gone) {
                    summary.damaged += 1;
                    "DAMAGED".to_owned()
                } else {
                    summary.count(&here);
                    here.word()
                }
            }
            kind => {
                summary.others += 1;
                kind_word(kind).to_owned()
            }
        };
        let head = format!("{word:<12} {:>14}  ", found.attr.size);
        writeln!(out, "{head}{}", printed(&found.path)).map_err(Failure::file("write to", "standard output"))
    })?;
    out.flush().map_err(Failure::file("write to", "standard output"))
}

fn is_damaged(gone: &Option<Gone>) -> bool {
    gone.as_ref().is_some_and(|gone| gone.certain)
}

fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Dir => "directory",
        FileKind::Symlink => "link",
        FileKind::Fifo => "pipe",
        FileKind::Socket => "socket",
        FileKind::CharDevice | FileKind::BlockDevice => "device",
    }
}

/// Makes the tree again below `to`.
fn extract(names: &Names, contents: &Contents, to: &Path, summary: &mut Summary) -> Result<(), Failure> {
    std::fs::create_dir_all(to).map_err(Failure::file("make", to))?;
    let mut restorer = Restorer::new(to);
    let mut total = 0;
    let mut progress = Progress::new("looking at all names", Unit::Things("names"), names.count());
    names.walk(&mut |found| {
        progress.add(1);
        total += if found.attr.kind == FileKind::File { contents.expected_bytes(&found.attr) } else { 0 };
        Ok(())
    })?;
    drop(progress);
    let mut progress = Progress::new("extracting", Unit::Bytes, total);
    names.walk(&mut |found| {
        let extras = names.extras(&found.attr)?;
        let mut lost = None;
        let outcome = match found.attr.kind {
            FileKind::File => {
                let (here, gone) = contents.look(&found.attr)?;
                lost = gone;
                restorer.file(&found, &extras, contents, &here, &mut |n| progress.add(n)).map(Some)
            }
            _ => {
                summary.others += 1;
                restorer.other(&found, &extras, contents.pair()).map(|()| None)
            }
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(made)) => {
                summary.add(&found.path, &made, lost, &mut progress);
                made.undressed.iter().for_each(|failure| summary.fail(failure, &mut progress));
            }
            Err(failure) => summary.fail(&failure, &mut progress),
        }
        Ok(())
    })?;
    let root = names.attr(Ino::ROOT)?;
    if let Err(failure) = restorer.finish(&root) {
        summary.fail(&failure, &mut progress);
    }
    Ok(())
}

/// The path of a name in a directory.
fn join(directory: &Path, name: &[u8]) -> PathBuf {
    directory.join(OsStr::from_bytes(name))
}
