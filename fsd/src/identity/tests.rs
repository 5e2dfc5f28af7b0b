//! Directories that are taken, and those that are refused and left as they are.

use super::*;
use std::collections::BTreeMap;

fn server(number: u16) -> Identity {
    Identity { cluster: "home".to_owned(), cluster_id: ClusterId(1), server: ServerId(number) }
}

/// Every file's path and bytes; the lock's own are no matter.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path.clone());
                found.insert(path, Vec::new());
            } else if !path.ends_with(LOCK) {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn refused(root: &Path, wanted: &Identity) -> IdentityError {
    let before = contents(root);
    let error = DataDir::open(root, wanted).unwrap_err();
    assert_eq!(contents(root), before, "a directory that is refused is not touched");
    error
}

#[test]
fn a_new_directory_is_made_and_opened_again() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("not/there/yet");
    let dir = DataDir::open(&root, &server(1)).unwrap();
    assert!(dir.life().first && !dir.life().power_lost);
    dir.trust().unwrap();
    assert!(dir.chunks().is_dir() && dir.notes().is_dir() && dir.names().is_dir() && dir.log().is_dir());
    let first = dir.incarnation();
    drop(dir);
    let dir = DataDir::open(&root, &server(1)).unwrap();
    assert!(!dir.life().first && !dir.life().power_lost && dir.incarnation() > first);
    assert!(dir.life().empty, "nothing was brought to it yet");
    dir.fill().unwrap();
    assert_eq!(*dir.identity(), server(1));
    dir.distrust().unwrap();
    drop(dir);
    let dir = DataDir::open(&root, &server(1)).unwrap();
    assert!(dir.life().power_lost && !dir.life().empty);
    dir.end_cleanly().unwrap();
    assert!(DataDir::open(&root, &server(1)).unwrap().life().power_lost, "it was not made up for");
    DataDir::open(&root, &server(1)).unwrap().trust().unwrap();
    assert!(!DataDir::open(&root, &server(1)).unwrap().life().power_lost);
}

#[test]
fn nothing_makes_up_for_a_disk_that_failed_but_another_life() {
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path(), &server(1)).unwrap();
    dir.trust().unwrap();
    dir.book().disk_failed().unwrap();
    dir.trust().unwrap();
    drop(dir);
    let dir = DataDir::open(root.path(), &server(1)).unwrap();
    assert!(dir.life().power_lost, "a restart is no reason to believe what is there");
    dir.trust().unwrap();
    drop(dir);
    assert!(!DataDir::open(root.path(), &server(1)).unwrap().life().power_lost);
}

#[test]
fn only_its_owner_can_look_into_it() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |root: &Path| std::fs::metadata(root).unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let new = parent.path().join("above/new");
    drop(DataDir::open(&new, &server(1)).unwrap());
    assert_eq!(mode(&new), 0o700);
    let empty = parent.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(DataDir::open(&empty, &server(1)).unwrap());
    assert_eq!(mode(&empty), 0o700);
    std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o750)).unwrap();
    drop(DataDir::open(&empty, &server(1)).unwrap());
    assert_eq!(mode(&empty), 0o750, "what its owner opened later stays so");
}

#[test]
fn the_witness_has_a_log_only() {
    let root = tempfile::tempdir().unwrap();
    DataDir::open(root.path(), &server(0)).unwrap();
    assert!(root.path().join("log").is_dir() && !root.path().join("chunks").exists());
}

#[test]
fn one_process_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path(), &server(1)).unwrap();
    let error = refused(root.path(), &server(1));
    assert!(matches!(&error, IdentityError::InUse { process, .. } if *process == std::process::id().to_string()));
    assert!(matches!(OfflineDir::open(root.path()), Err(IdentityError::InUse { .. })));
    drop(dir);
    let one = OfflineDir::open(root.path()).unwrap();
    let two = OfflineDir::open(root.path()).unwrap();
    assert_eq!((one.identity(), two.part("chunks")), (&server(1), root.path().join("chunks")));
    assert!(matches!(refused(root.path(), &server(1)), IdentityError::InUse { .. }));
}

#[test]
fn another_owners_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(DataDir::open(root.path(), &server(1)).unwrap());
    let text = |error: IdentityError| error.to_string();
    let other = Identity { cluster: "work".to_owned(), cluster_id: ClusterId(2), ..server(1) };
    assert!(text(refused(root.path(), &other)).contains("\"home\""));
    let error = refused(root.path(), &server(2));
    assert!(matches!(error, IdentityError::OtherServer { found: ServerId(1), wanted: ServerId(2), .. }));
    let newer = record::sealed("raidfs data directory, format 2\n".to_owned());
    std::fs::write(root.path().join(IDENTITY), newer).unwrap();
    assert!(matches!(refused(root.path(), &server(1)), IdentityError::Newer { found: 2, .. }));
}

#[test]
fn a_damaged_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(DataDir::open(root.path(), &server(1)).unwrap());
    let identity = root.path().join(IDENTITY);
    let text = std::fs::read(&identity).unwrap();
    std::fs::write(&identity, &text[..20]).unwrap();
    assert!(matches!(refused(root.path(), &server(1)), IdentityError::Damaged { .. }));
    std::fs::write(&identity, [0xff; 20]).unwrap();
    assert!(matches!(refused(root.path(), &server(1)), IdentityError::Damaged { .. }));
    std::fs::write(&identity, &text).unwrap();
    std::fs::remove_dir(root.path().join("chunks")).unwrap();
    let error = refused(root.path(), &server(1));
    assert!(error.to_string().contains("`chunks` is missing"), "{error}");
    std::fs::create_dir(root.path().join("chunks")).unwrap();
    std::fs::write(root.path().join("chunks/x"), "").unwrap();
    std::fs::remove_file(&identity).unwrap();
    assert!(matches!(refused(root.path(), &server(1)), IdentityError::NotOurs { holds, .. } if holds == "chunks"));
    std::fs::write(&identity, &text).unwrap();
    std::fs::remove_file(root.path().join(LIFE)).unwrap();
    assert!(DataDir::open(root.path(), &server(1)).unwrap().life().power_lost);
}

#[test]
fn something_elses_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("thesis.tex"), "precious").unwrap();
    assert!(matches!(refused(root.path(), &server(1)), IdentityError::NotOurs { holds, .. } if holds == "thesis.tex"));
    assert!(!root.path().join(LOCK).exists());
    let file = root.path().join("thesis.tex");
    assert!(matches!(DataDir::open(&file, &server(1)), Err(IdentityError::Io { .. })));
    assert!(OfflineDir::open(root.path()).is_err());
}

#[test]
fn a_directory_that_was_being_made_is_made() {
    let root = tempfile::tempdir().unwrap();
    for name in ["chunks", "log", "lost+found"] {
        std::fs::create_dir(root.path().join(name)).unwrap();
    }
    for name in ["lock", "identity.new", "life", "life.new"] {
        std::fs::write(root.path().join(name), "half").unwrap();
    }
    let dir = DataDir::open(root.path(), &server(1)).unwrap();
    assert!(dir.life().first && dir.notes().is_dir());
}

#[test]
fn that_a_disk_has_failed_is_written_down_on_a_full_one_too() {
    use crate::chunk::io::{Call, fault};
    let root = tempfile::tempdir().unwrap();
    let dir = DataDir::open(root.path(), &server(1)).unwrap();
    dir.trust().unwrap();
    drop(dir);
    let dir = DataDir::open(root.path(), &server(1)).unwrap();
    assert!(!dir.life().power_lost);
    fault::plan(Call::Sync, 0, libc::ENOSPC);
    dir.distrust().unwrap();
    assert_eq!(fault::left(), 0);
    let life = dir.life();
    drop(dir);
    let dir = DataDir::open(root.path(), &server(1)).unwrap();
    assert!(dir.life().power_lost);
    assert_eq!(dir.life().incarnation.life(), life.incarnation.life() + 1, "the record is whole");
}
