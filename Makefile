# raidfs: the one entry point. `make` alone shows what there is.
# Every target does its own set-up on a Debian 12 with a Rust toolchain and root; nothing else needs to be installed.

DIR     ?= raidfs-data
MOUNT   ?=
SERVERS ?=
PORT    ?=
PREFIX  ?= /usr/local
DESTDIR ?=
SBINDIR ?= /usr/sbin
SYSCONFDIR ?= /etc
CARGO   ?= cargo
CASES   ?=
ONLY    ?=
ROUNDS  ?=
BENCH   ?=

# Cargo's own setting, if there is one.
RELEASE  := $(or $(CARGO_TARGET_DIR),target)/release
RAIDFS   := $(RELEASE)/raidfs
PROGRAMS := fsd mountd raidfs

.DEFAULT_GOAL := help
.PHONY: help setup build run stop demo install uninstall check fix test test-unit test-shell test-faults test-sim test-scenes test-plants test-posix test-scale soak test-all bench bench-peers doc

help: ## show this
	@echo "make TARGET [DIR=$(DIR)] [MOUNT=/mnt/raidfs] [SERVERS=4] [PORT=7100]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install the system packages that building and testing need, if any is missing
	@packaging/setup

build: ## build the three programs, optimised, into target/release
	@packaging/setup build
	$(CARGO) build --release --locked -p raidfs-fsd -p raidfs-mountd

run: build ## start a cluster in DIR and mount it at MOUNT, or where it was; run again: says that it is up
	@packaging/setup run
	@packaging/run "$(RAIDFS)" "$(DIR)" "$(MOUNT)" "$(SERVERS)" "$(PORT)"

stop: ## unmount and stop what `make run` started; the data stays in DIR
	@if [ -f "$(DIR)/raidfs.toml" ]; then \
	  [ -x "$(RAIDFS)" ] || $(MAKE) --no-print-directory build; "$(RAIDFS)" down --dir "$(DIR)"; \
	else echo "nothing to stop: there is no cluster in $(DIR)"; fi

demo: build ## the story, narrated: copy a tree, kill a server, read everything back, bring it back, verify
	@packaging/setup run
	$(CARGO) build --release --locked -p raidfs-tests --bin probe
	@tests/demo "$(RELEASE)"

install: build ## install programs, systemd units and mount.raidfs (DESTDIR=, PREFIX=, SBINDIR=, SYSCONFDIR=)
	@packaging/install "$(RELEASE)" "$(DESTDIR)" "$(PREFIX)" "$(SBINDIR)" "$(SYSCONFDIR)"

uninstall: ## take away what `make install` installed
	@packaging/install --remove "$(RELEASE)" "$(DESTDIR)" "$(PREFIX)" "$(SBINDIR)" "$(SYSCONFDIR)"

check: ## everything that can be judged without running it: read-only, the same as CI
	@packaging/setup build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	@if $(CARGO) deny --version > /dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo "cargo-deny is not installed: licences and bans are checked by tests/tidy instead (docs/decisions/)"; fi
	$(CARGO) test --locked -p raidfs-tests --test tidy

fix: ## the only target that rewrites sources: formatting, and what clippy can mend
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

test: ## all tests that gate a change, those on a real mount included
	@packaging/setup build
	@packaging/setup test
	@tests/all

test-unit: ## the tests that need no mount and no root
	@packaging/setup build
	@tests/all --unit

test-shell: ## the cases on a real mount; CASES="posix failover/leader_dies" runs some
	@packaging/setup build
	@packaging/setup test
	@tests/all --shell $(CASES)

test-faults: build ## the cases with faults only, on an optimised build, of which the promised times hold
	@packaging/setup test
	@packaging/tools
	$(CARGO) build --release --locked -p raidfs-tests --bin probe
	@tests/shell/run --bin "$(RELEASE)" failover

test-sim: ## a whole cluster in one process, from seeds: SEEDS=100 of them FROM=1, or SEED=N told in full
	@packaging/setup build
	$(CARGO) build --locked -p raidfs-tests --bin simulate
	@"$(dir $(RELEASE))debug/simulate" $(if $(SEED),--seed $(SEED) --tell,--from $(or $(FROM),1) --seeds $(or $(SEEDS),100))

test-scenes: ## the scenes of the simulation, each under SEEDS=20 seeds; ONLY=NAME plays one
	@packaging/setup build
	$(CARGO) build --locked -p raidfs-tests --bin simulate
	@"$(dir $(RELEASE))debug/simulate" --scenes --from $(or $(FROM),1) --seeds $(or $(SEEDS),20) $(if $(ONLY),--only $(ONLY))

test-plants: ## bugs planted on purpose, each to be caught by a scene of the simulation or by one of SEEDS=200 seeds; ONLY=BUG plants one
	@packaging/setup build
	$(CARGO) build --locked -p raidfs-tests --bin simulate --features planted --target-dir "$(dir $(RELEASE))planted"
	@"$(dir $(RELEASE))planted/debug/simulate" --plants --from $(or $(FROM),1) --seeds $(or $(SEEDS),200) $(if $(ONLY),--only $(ONLY))

test-posix: build ## the public suites in full, also while servers are killed and return, and a real workspace by cargo: two hours; MINUTES= of each, OPS= of a round, SEED=
	@packaging/setup suites
	@packaging/tools
	$(CARGO) build --release --locked -p raidfs-tests --bin probe
	@tests/shell/run --bin "$(RELEASE)" --long suites programs/cargo_real

test-scale: build ## 1,000,000 files, and one of 20 GiB (GIB= to change): memory and speed; takes long, and 43 GB of disk
	@packaging/setup test
	$(CARGO) build --release --locked -p raidfs-tests --bin probe
	@tests/shell/run --bin "$(RELEASE)" scale

soak: build ## faults of every kind in an order from SEED=, for HOURS= (1) under programs of several kinds that check what they do
	@packaging/setup suites
	@packaging/tools
	$(CARGO) build --release --locked -p raidfs-tests --bin probe
	@MINUTES=$$(awk 'BEGIN { print int($(or $(HOURS),1) * 60 + 0.5) }') tests/shell/run --bin "$(RELEASE)" --long soak

test-all: check test demo ## everything

bench: build ## measure a plain directory and the mount; ONLY=create,untar and ROUNDS=1 measure less
	@packaging/setup bench
	$(CARGO) build --release --locked -p raidfs-tests --bin bench
	@"$(RELEASE)/bench" $(BENCH) $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) --paper docs/BENCHMARKS.md

bench-peers: ## the same, with GlusterFS and MooseFS on the same disk
	@packaging/setup peers
	@$(MAKE) --no-print-directory bench BENCH=--peers

doc: ## the internal documentation, into target/doc
	$(CARGO) doc --workspace --no-deps --document-private-items
