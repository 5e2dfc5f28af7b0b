# limit: 240
# cargo build and test of a workspace: libraries, a build script, a generated source, and what is built again after a
# change.
skip_without cargo
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_TERM_COLOR=never CARGO_NET_OFFLINE=true
mkdir ws; cd ws || exit 1
printf '[workspace]\nresolver = "2"\nmembers = ["crates/*"]\n[profile.dev]\ndebug = false\n' > Cargo.toml
crate() { # NAME KIND [DEPENDENCY...]
  local name=$1 kind=$2 used=0 d; shift 2
  mkdir -p "crates/$name/src"
  printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n' "$name" > "crates/$name/Cargo.toml"
  for d in "$@"; do echo "$d = { path = \"../$d\" }" >> "crates/$name/Cargo.toml"; used="$used + $d::sum()"; done
  case $kind in
    lib) echo "pub fn sum() -> u32 { 1 + $used } #[test] fn adds() { assert!(sum() > 0); }" > "crates/$name/src/lib.rs" ;;
    bin) echo "fn main() { println!(\"{}\", 1 + $used); }" > "crates/$name/src/main.rs" ;;
  esac
}
crate a lib; crate b lib a; crate c lib a b; crate d bin b c generated
crate generated lib
echo 'fn main() { let out = std::env::var("OUT_DIR").unwrap(); std::fs::write(format!("{out}/n.rs"), "7").unwrap();
  println!("cargo:rerun-if-changed=build.rs"); }' > crates/generated/build.rs
echo 'pub fn sum() -> u32 { include!(concat!(env!("OUT_DIR"), "/n.rs")) }' > crates/generated/src/lib.rs
built() { cargo build --offline 2>&1 | sed -n 's/^ *Compiling \([a-z]*\) .*/\1/p' | sort | tr '\n' ' '; }
same "builds all" "a b c d generated " "$(built)"
# a 1, b 2, c 1 + 1 + 2; 1 + 2 + 4 + 7
same "and what it built runs" 14 "$(./target/debug/d)"
same "the program is one file under both its names" "$(stat -c %i target/debug/d)" "$(stat -c %i target/debug/deps/d-* | sort -u | grep -x "$(stat -c %i target/debug/d)")"
same "nothing is to be built again" "" "$(built)"
echo "pub fn sum() -> u32 { 10 }" > crates/b/src/lib.rs
same "after a change, what depends on it" "b c d " "$(built)"
same "and runs" 30 "$(./target/debug/d)"
check "its tests run" cargo test -q --offline
check "clean takes it away" cargo clean -q
refuse "all of it" test -e target/debug
