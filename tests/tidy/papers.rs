//! Rules on the papers: what they name is there.

use super::source::{Source, files, root, rust};
use std::collections::BTreeSet;

/// Every word between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.lines()
        .filter(|l| !l.trim_start().starts_with("```"))
        .flat_map(|l| l.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The names of all functions of the workspace.
fn function_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in rust() {
        for line in source.text.lines().filter(|l| l.contains("fn ")) {
            let after = line.split("fn ").nth(1).unwrap_or_default();
            names.insert(after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned());
        }
    }
    names
}

const SHELL_ROOMS: [&str; 6] = ["posix/", "failover/", "programs/", "cli/", "input/", "suites/"];

/// Names of tests that are not there: shell cases (`failover/x`) and Rust tests (`room::test_name`).
fn missing_tests(text: &str) -> Vec<String> {
    let names = function_names();
    let mut missing = Vec::new();
    for word in quoted(text) {
        if SHELL_ROOMS.iter().any(|r| word.starts_with(r)) {
            let file = root().join("tests/shell").join(format!("{}.sh", word.trim_end_matches(".sh")));
            if !file.exists() {
                missing.push(word);
            }
        } else if let Some((_, name)) = word.rsplit_once("::") {
            let is_test = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_test && !name.is_empty() && !names.contains(name) {
                missing.push(word);
            }
        }
    }
    missing
}

#[test]
fn the_tests_that_papers_name_exist() {
    let mut breaches = Vec::new();
    for paper in ["docs/SEMANTICS.md", "docs/FAILURES.md", "docs/PROTOCOL.md"] {
        let Ok(text) = std::fs::read_to_string(root().join(paper)) else { continue };
        breaches.extend(missing_tests(&text).into_iter().map(|t| format!("{paper}: {t}")));
    }
    assert!(breaches.is_empty(), "\n{}\n\nA promise names a test that exists.", breaches.join("\n"));
}

#[test]
fn every_promise_names_its_test() {
    let Ok(text) = std::fs::read_to_string(root().join("docs/SEMANTICS.md")) else { return };
    let promises = text.lines().filter(|l| l.starts_with("| ") && l.contains('|') && !l.starts_with("| promise"));
    let bare: Vec<&str> = promises.filter(|l| !l.contains('`')).collect();
    assert!(bare.is_empty(), "\n{}\n\nname the test that holds it, in backticks", bare.join("\n"));
}

#[test]
fn links_between_papers_lead_somewhere() {
    let mut papers = files(&["docs"], ".md");
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root().join(name));
        papers.extend(text.map(|text| Source { path: name.to_owned(), text }));
    }
    let mut dead = Vec::new();
    for paper in &papers {
        let folder = root().join(&paper.path).parent().expect("a file lies in a folder").to_owned();
        for target in paper.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                dead.push(format!("{}: {target}", paper.path));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}\n", dead.join("\n"));
}

#[test]
fn missing_tests_are_noticed() {
    let text = "`failover/no_such_case`, `papers::missing_tests_are_noticed`, `papers::no_such_test`, `Vec::new`";
    assert_eq!(missing_tests(text), ["failover/no_such_case", "papers::no_such_test"]);
}
