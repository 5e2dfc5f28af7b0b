//! `raidfs where`: which servers hold a file, as the mount itself says.

use super::Failure;
use super::args::WhereArgs;
use super::{mounts, wait};
use raidfs_common::printed::{printed, printed_bytes};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const ATTRIBUTE: &std::ffi::CStr = c"user.raidfs.where";
/// A mount that does not answer is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the command. One file that cannot be told of hides none of the others.
pub fn run(args: &WhereArgs) -> Result<ExitCode, Failure> {
    let mut failures = Vec::new();
    for path in &args.paths {
        match told(path) {
            Ok(text) => {
                if args.paths.len() > 1 {
                    println!("{}:", printed(&path));
                }
                // Any file system may have such an attribute.
                text.trim_ascii_end().split(|b| *b == b'\n').for_each(|line| println!("{}", printed_bytes(line)));
            }
            Err(failure) => failures.push(failure),
        }
    }
    match failures.len() {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(failures.remove(0)),
        _ => Err(Failure::Several(failures)),
    }
}

fn told(path: &Path) -> Result<Vec<u8>, Failure> {
    let asked = path.to_owned();
    let read = wait::at_most(PATIENCE, move || read(&asked)).unwrap_or_else(|| {
        let text = "the mount does not answer; `raidfs status` says why";
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    });
    read.map_err(|e| match e.raw_os_error() {
        Some(libc::ENODATA | libc::EOPNOTSUPP) if mounts::is_raidfs(path) => Failure::NoChunks(path.to_owned()),
        Some(libc::ENODATA | libc::EOPNOTSUPP) => Failure::NotRaidfs(path.to_owned()),
        _ => Failure::file("ask about", path)(e),
    })
}

/// What the mount says of a file: one line for each chunk.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    let mut buffer = vec![0u8; 65_536];
    // SAFETY: both strings end in NUL, and the buffer is as long as said.
    let n = unsafe { libc::lgetxattr(c_path.as_ptr(), ATTRIBUTE.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    buffer.truncate(n);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_a_mount_is_said_to_be_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let args = WhereArgs { paths: vec![dir.path().to_owned()] };
        assert!(matches!(run(&args), Err(Failure::NotRaidfs(_))));
        let args = WhereArgs { paths: vec![dir.path().join("missing")] };
        assert!(matches!(run(&args), Err(Failure::File { .. })));
        let args = WhereArgs { paths: vec![dir.path().to_owned(), dir.path().join("missing")] };
        let said = run(&args).unwrap_err().to_string();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("is not on a raidfs mount") && said.contains("No such file"), "{said}");
    }
}
