# limit: 1800
# only when asked
# cargo build of a workspace as there is one: this repository's, with what it depends on and all that cargo keeps beside.
skip_without cargo
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_TERM_COLOR=never CARGO_NET_OFFLINE=true
sources=$LIB/../../..
mkdir ws
need cp -a "$sources"/{Cargo.toml,Cargo.lock,rust-toolchain.toml,common,fsd,mountd,tests} ws/
cd ws || exit 1
compiled() { # COMMAND...: prints how many packages were compiled
  "$@" > "$CASE_DIR/cargo.out" 2>&1 || { tail -n 30 "$CASE_DIR/cargo.out" >&2; echo "failed"; return; }
  grep -c '^ *Compiling' "$CASE_DIR/cargo.out"
}
build="cargo build --offline --locked -p raidfs-common"
# shellcheck disable=SC2086
within "it is built, with all it depends on" 20 1000 "$(compiled $build)"
# shellcheck disable=SC2086
same "nothing is to be built again" 0 "$(compiled $build)"
wait_until 5 sh -c 'touch "$1" && [ "$1" -nt "$2" ]' - common/src/lib.rs target/debug/libraidfs_common.rlib
# shellcheck disable=SC2086
same "but what was touched" 1 "$(compiled $build)"
check "its tests are built and pass" cargo test --offline --locked -q -p raidfs-common --lib
check "clean takes it away" cargo clean -q
refuse "all of it" test -e target/debug
