//! Licences of everything that is linked in, against the list in `deny.toml`; and a reason for each dependency.
//!
//! `cargo deny` reads the same list and knows advisories too; this needs no further program (see docs/decisions/).

use super::source::root;
use std::collections::BTreeSet;
use std::process::Command;

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(serde::Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(serde::Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(serde::Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(serde::Deserialize)]
struct Bans {
    #[serde(default)]
    deny: Vec<Banned>,
}

#[derive(serde::Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

fn deny() -> Deny {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    toml::from_str(&text).expect("deny.toml is of its form")
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    metadata.packages.into_iter().filter(|p| p.source.is_some()).collect()
}

/// Whether an SPDX expression can be met with the allowed licences: one side of each `OR`, all sides of each `AND`.
fn can_be_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let mut at = 0;
    either(&words, &mut at, allowed) && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, allowed);
        *at += 1;
        return met;
    }
    if words.get(*at) == Some(&"WITH") {
        let whole = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
        return allowed.contains(&whole);
    }
    allowed.contains(*word)
}

#[test]
fn every_licence_is_allowed() {
    let allowed = deny().licenses.allow;
    let bad: Vec<String> = packages()
        .into_iter()
        .filter(|p| !p.license.as_ref().is_some_and(|l| can_be_met(l, &allowed)))
        .map(|p| format!("{} {}: {}", p.name, p.version, p.license.as_deref().unwrap_or("no licence given")))
        .collect();
    assert!(bad.is_empty(), "\n{}\n\nTake another crate, or allow the licence in deny.toml.", bad.join("\n"));
}

#[test]
fn no_banned_crate_is_used() {
    let banned = deny().bans.deny;
    let names: BTreeSet<String> = packages().into_iter().map(|p| p.name).collect();
    let used: Vec<&str> = banned.iter().map(|b| b.name.as_str()).filter(|b| names.contains(*b)).collect();
    assert!(used.is_empty(), "deny.toml bans {used:?}, and says why");
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest is there");
    let section = text.split("[workspace.dependencies]").nth(1).expect("it has dependencies");
    let section = section.split("\n[").next().unwrap_or_default();
    let mute: Vec<&str> =
        section.lines().filter(|l| l.contains('=') && !l.contains("path =") && !l.contains('#')).collect();
    assert!(mute.is_empty(), "\n{}\n\nsay in a comment what it is for", mute.join("\n"));
}

#[test]
fn licence_expressions_are_understood() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND MIT", "Apache-2.0 WITH LLVM-exception"] {
        assert!(can_be_met(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "", "MIT MIT"] {
        assert!(!can_be_met(bad, &allowed), "{bad}");
    }
}
