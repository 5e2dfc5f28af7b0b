//! Carries out one order over the vfs, and writes what it shows. Generic over the cluster, so that tests need none.

use super::order::Order;
use super::paths::{find, place};
use crate::cli::human;
use crate::vfs::cluster::Cluster;
use crate::vfs::{Caller, NewNode, OpenMode, Set, Vfs};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::error::FsError;
use raidfs_common::id::Ino;
use raidfs_common::namespace::RenameMode;
use raidfs_common::printed::{printed, printed_bytes};
use std::io::{self, Write};

/// Bytes read at a time.
const READ_BYTES: u32 = 1 << 20;
/// Directories that `rm -r` goes down; deeper trees are refused.
const DEPTH_MAX: usize = 256;

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The file system says no.
    #[error("{}: {error}", printed(path))]
    File {
        /// About this path.
        path: String,
        /// Why.
        error: FsError,
    },
    /// What it shows could not be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// For `map_err` of what the file system refuses about a path.
fn about(path: &str) -> impl Fn(FsError) -> Trouble + '_ {
    move |error| Trouble::File { path: path.to_owned(), error }
}

/// Carries out one order about files; `status`, `help` and `quit` are not among them. What it changed is on stable
/// storage when it returns.
pub async fn act<C: Cluster>(vfs: &Vfs<C>, order: &Order, out: &mut (dyn Write + Send)) -> Result<(), Trouble> {
    match order {
        Order::Mkdir(path) => {
            let at = place(vfs, path).await.map_err(about(path))?;
            vfs.make(caller(), at.parent, &at.name, NewNode::dir(0o755)).await.map_err(about(path))?;
        }
        Order::Create(path) => create(vfs, path, out).await?,
        Order::Mv(from, to) => rename(vfs, from, to).await?,
        Order::Read(path) => read(vfs, path, out).await?,
        Order::Write { path, text, append } => {
            write(vfs, path, text.as_bytes(), *append).await.map_err(about(path))?;
        }
        Order::Rm { path, all } => {
            let at = place(vfs, path).await.map_err(about(path))?;
            Box::pin(remove(vfs, at.parent, &at.name, *all, 0)).await.map_err(about(path))?;
        }
        Order::Ls { path, long } => list(vfs, path, *long, out).await?,
        Order::Where(path) => {
            let attr = find(vfs, path, true).await.map_err(about(path))?;
            let text = vfs.place(attr.ino).await.map_err(|error| match error {
                FsError::NoData => about(path)(FsError::IsDir),
                error => about(path)(error),
            })?;
            out.write_all(&text)?;
        }
        Order::Status | Order::Help | Order::Quit => {}
    }
    if order.changes() {
        vfs.sync_all().await.map_err(about("the store"))?;
    }
    Ok(())
}

fn caller() -> Caller {
    // SAFETY: both only return a number.
    unsafe { Caller { uid: libc::geteuid(), gid: libc::getegid(), ..Caller::default() } }
}

async fn create<C: Cluster>(vfs: &Vfs<C>, path: &str, out: &mut (dyn Write + Send)) -> Result<(), Trouble> {
    let at = place(vfs, path).await.map_err(about(path))?;
    let attr = vfs.make(caller(), at.parent, &at.name, NewNode::file(0o644)).await.map_err(about(path))?;
    let text = vfs.place(attr.ino).await.map_err(about(path))?;
    let text = String::from_utf8_lossy(&text);
    let servers = text.lines().next().and_then(|line| line.strip_prefix("chunk 0: ")).unwrap_or_default();
    writeln!(out, "{}: {servers}", printed(path))?;
    Ok(())
}

async fn rename<C: Cluster>(vfs: &Vfs<C>, from: &str, to: &str) -> Result<(), Trouble> {
    let old = place(vfs, from).await.map_err(about(from))?;
    let moved = vfs.lookup(old.parent, &old.name).await.map_err(about(from))?;
    let new = match find(vfs, to, true).await {
        Ok(dir) if dir.kind == FileKind::Dir && dir.ino != moved.ino => (dir.ino, old.name.clone()),
        Ok(_) | Err(FsError::NotFound) => {
            let new = place(vfs, to).await.map_err(about(to))?;
            (new.parent, new.name)
        }
        Err(error) => return Err(about(to)(error)),
    };
    vfs.rename(old.parent, &old.name, new.0, &new.1, RenameMode::Replace).await.map_err(about(to))
}

async fn read<C: Cluster>(vfs: &Vfs<C>, path: &str, out: &mut (dyn Write + Send)) -> Result<(), Trouble> {
    let attr = find(vfs, path, true).await.map_err(about(path))?;
    let handle = vfs.open(attr.ino, OpenMode::default()).await.map_err(about(path))?;
    let (mut at, mut last) = (0, b'\n');
    let result = loop {
        match vfs.read(handle, at, READ_BYTES).await {
            Ok(bytes) if bytes.is_empty() => break Ok(()),
            Ok(bytes) => {
                at += bytes.len() as u64;
                last = bytes[bytes.len() - 1];
                if let Err(error) = out.write_all(&bytes) {
                    break Err(error.into());
                }
            }
            Err(error) => break Err(about(path)(error)),
        }
    };
    vfs.release(handle).map_err(about(path))?;
    result?;
    // The next prompt begins on a line of its own.
    if last != b'\n' {
        out.write_all(b"\n")?;
    }
    Ok(())
}

async fn write<C: Cluster>(vfs: &Vfs<C>, path: &str, text: &[u8], append: bool) -> Result<(), FsError> {
    let handle = match find(vfs, path, true).await {
        Ok(attr) => vfs.open(attr.ino, OpenMode::default()).await?,
        Err(FsError::NotFound) => {
            let at = place(vfs, path).await?;
            vfs.create(caller(), at.parent, &at.name, 0o644, false, OpenMode::default()).await?.1
        }
        Err(error) => return Err(error),
    };
    let result = write_open(vfs, path, handle, text, append).await;
    let closed = vfs.flush(handle).and(vfs.release(handle));
    result.and(closed)
}

async fn write_open<C: Cluster>(
    vfs: &Vfs<C>,
    path: &str,
    handle: u64,
    text: &[u8],
    append: bool,
) -> Result<(), FsError> {
    let attr = find(vfs, path, true).await?;
    let offset = if append { attr.size } else { 0 };
    if !append && attr.size > 0 {
        vfs.setattr(caller(), attr.ino, Set { size: Some(0), ..Set::default() }).await?;
    }
    let mut line = text.to_vec();
    line.push(b'\n');
    vfs.write(handle, offset, &line, None).await?;
    vfs.fsync(handle).await
}

async fn remove<C: Cluster>(vfs: &Vfs<C>, parent: Ino, name: &[u8], all: bool, depth: usize) -> Result<(), FsError> {
    let attr = vfs.lookup(parent, name).await?;
    if attr.kind != FileKind::Dir {
        return vfs.unlink(parent, name).await;
    }
    if all {
        if depth >= DEPTH_MAX {
            return Err(FsError::NameTooLong);
        }
        for (child, _) in entries(vfs, attr.ino).await? {
            Box::pin(remove(vfs, attr.ino, &child, true, depth + 1)).await?;
        }
    }
    vfs.rmdir(parent, name).await
}

/// A directory's entries without `.` and `..`, by name.
async fn entries<C: Cluster>(vfs: &Vfs<C>, dir: Ino) -> Result<Vec<(Vec<u8>, Option<Attr>)>, FsError> {
    let handle = vfs.opendir(dir, OpenMode::default()).await?;
    let mut entries = Vec::new();
    let result = vfs
        .readdir(handle, 0, true, |entry| {
            if !matches!(entry.name.as_slice(), b"." | b"..") {
                entries.push((entry.name, entry.attr));
            }
            false
        })
        .await;
    vfs.release(handle)?;
    result?;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

async fn list<C: Cluster>(vfs: &Vfs<C>, path: &str, long: bool, out: &mut (dyn Write + Send)) -> Result<(), Trouble> {
    let attr = find(vfs, path, true).await.map_err(about(path))?;
    let listed = if attr.kind == FileKind::Dir {
        entries(vfs, attr.ino).await.map_err(about(path))?
    } else {
        vec![(path.as_bytes().to_vec(), Some(attr))]
    };
    let mut rows = Vec::new();
    for (name, attr) in listed {
        let slash = if attr.is_some_and(|a| a.kind == FileKind::Dir) { "/" } else { "" };
        let name = format!("{}{slash}", printed_bytes(&name));
        match attr.filter(|_| long) {
            Some(a) => rows.push(vec![
                format!("{}{:04o}", letter(a.kind), a.perm),
                a.nlink.to_string(),
                human::bytes(a.size),
                human::clock(a.mtime.to_system()),
                name,
            ]),
            None => rows.push(vec![name]),
        }
    }
    out.write_all(human::table(&rows).as_bytes())?;
    Ok(())
}

fn letter(kind: FileKind) -> char {
    match kind {
        FileKind::File => '-',
        FileKind::Dir => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shell::words::split;
    use crate::vfs::Options;
    use crate::vfs::memory_cluster::MemoryCluster;

    /// Carries out lines one after the other, and returns what the last one showed or why it failed.
    async fn run(vfs: &Vfs<MemoryCluster>, lines: &[&str]) -> Result<String, String> {
        let mut shown = Ok(String::new());
        for line in lines {
            let order = Order::parse(&split(line).unwrap()).unwrap().unwrap();
            let mut out = Vec::new();
            let result = act(vfs, &order, &mut out).await;
            shown = result.map(|()| String::from_utf8(out).unwrap()).map_err(|e| e.to_string());
        }
        shown
    }

    fn vfs() -> Vfs<MemoryCluster> {
        Vfs::new(MemoryCluster::new(), Options::default())
    }

    #[tokio::test]
    async fn the_original_clients_commands_do_what_they_did() {
        let vfs = vfs();
        let put = ["mkdir /d", "create /d/f", "write /d/f 'some text'"];
        assert_eq!(run(&vfs, &put).await, Ok(String::new()));
        assert_eq!(run(&vfs, &["read /d/f"]).await.unwrap(), "some text\n");
        assert_eq!(run(&vfs, &["create /d/f"]).await, Err("/d/f: file exists".into()), "it stays where it is");
        assert_eq!(run(&vfs, &["mv /d/f /g", "read /g"]).await.unwrap(), "some text\n", "the data goes along");
        assert_eq!(run(&vfs, &["read /d/f"]).await, Err("/d/f: no such file or directory".into()));
        assert_eq!(run(&vfs, &["rm /g", "ls"]).await.unwrap(), "d/\n");
        assert_eq!(run(&vfs, &["rm /d", "ls"]).await.unwrap(), "");
    }

    #[tokio::test]
    async fn writing_replaces_or_appends() {
        let vfs = vfs();
        let lines = ["write /f a long first text", "write /f short", "write -a f more", "read /f"];
        assert_eq!(run(&vfs, &lines).await.unwrap(), "short\nmore\n");
        assert_eq!(run(&vfs, &["mkdir /d", "write /d x"]).await, Err("/d: is a directory".into()));
    }

    #[tokio::test]
    async fn moving_into_a_directory_keeps_the_name() {
        let vfs = vfs();
        assert_eq!(run(&vfs, &["mkdir /d", "write /f x", "mv /f /d", "read /d/f"]).await.unwrap(), "x\n");
        assert_eq!(run(&vfs, &["write /g y", "mv /d/f g", "read /g"]).await.unwrap(), "x\n", "replaced");
        assert_eq!(run(&vfs, &["mkdir /d/e", "mv /d /d/e"]).await, Err("/d/e: invalid argument".into()));
        assert!(run(&vfs, &["mv / /x"]).await.is_err());
    }

    #[tokio::test]
    async fn a_full_directory_is_removed_only_on_demand() {
        let vfs = vfs();
        let lines = ["mkdir /d", "mkdir /d/e", "write /d/e/f x", "rm /d"];
        assert_eq!(run(&vfs, &lines).await, Err("/d: directory not empty".into()));
        assert_eq!(run(&vfs, &["rm -r /d", "ls"]).await.unwrap(), "");
        assert_eq!(run(&vfs, &["rm -r /"]).await, Err("/: busy".into()));
    }

    #[tokio::test]
    async fn no_name_forges_a_line_of_a_list() {
        let vfs = vfs();
        let lines = [r#"write "/f\nd" x"#, "write /\u{1b}[2J x", "ls"];
        assert_eq!(run(&vfs, &lines).await.unwrap(), "$'\\033[2J'\n$'f\\nd'\n");
        assert_eq!(run(&vfs, &["rm /\u{1b}"]).await, Err("$'/\\033': no such file or directory".into()));
    }

    #[tokio::test]
    async fn lists_show_kinds_and_sizes() {
        let vfs = vfs();
        run(&vfs, &["mkdir /d", "write /f 1234"]).await.unwrap();
        assert_eq!(run(&vfs, &["ls /"]).await.unwrap(), "d/\nf\n");
        let long = run(&vfs, &["ls -l /"]).await.unwrap();
        assert!(long.lines().count() == 2 && long.contains("d0755") && long.contains("5 B"), "{long}");
        assert!(run(&vfs, &["where /f"]).await.unwrap().starts_with("chunk 0: pair "));
        assert_eq!(run(&vfs, &["where /d"]).await, Err("/d: is a directory".into()));
    }
}
