# limit: 180
# cargo build: a compiler with its locks, renames and mapped files.
skip_without cargo
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_TERM_COLOR=never
mkdir -p p/src; cd p || exit 1
printf '[package]\nname = "p"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' > Cargo.toml
echo 'fn main() { println!("built"); }' > src/main.rs
check "builds" cargo build -q --offline
same "and what it built runs" built "$(./target/debug/p)"
echo 'fn main() { println!("again"); }' > src/main.rs
check "builds again" cargo build -q --offline
same "what changed" again "$(./target/debug/p)"
