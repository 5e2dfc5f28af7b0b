//! The simulation of a whole cluster: the same seed is the same run, and some seeds as a sample. `make test-sim` runs more.

#[path = "../simulate/history.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod history;

use std::process::{Command, Output};

const SIMULATE: &str = env!("CARGO_BIN_EXE_simulate");

fn simulate(arguments: &[&str]) -> Output {
    Command::new(SIMULATE).args(arguments).output().expect("it can be run")
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_same_seed_is_the_same_run() {
    let sum = |seed: &str| {
        let output = simulate(&["--from", seed, "--seeds", "1", "--sums"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.contains("trace")).expect("it says the sum of its trace").to_owned()
    };
    let (one, again, other) = (sum("3"), sum("3"), sum("4"));
    assert_eq!(one, again);
    assert_ne!(one.split("trace").last(), other.split("trace").last());
}

#[test]
fn every_scene_passes() {
    let output = simulate(&["--scenes", "--seeds", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(last_line(&output).ends_with("0 failed"), "{}", last_line(&output));
}

#[test]
fn hundreds_of_seeds_find_nothing_wrong() {
    let output = simulate(&["--from", "1", "--seeds", "300"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(last_line(&output).contains("0 failed"), "{}", last_line(&output));
}
