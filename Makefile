# Thin targets; the work is in cargo and in tests/.
#
#   make demo   a demonstration: two networks and three policies on a private node on this machine
#   make test   runs every test
#   make soak   kills the daemon 300 times, loads it for an hour, and runs every fuzz target
#   make collect  kills 1,000 sandboxes hard, reboots in between, and looks what is left
#   make churn  attaches and detaches 10,000 pods while the installation is replaced 50 times
#   make recording  records 10,000 real requests and replays them
#   make fuzz   runs every fuzz target for three minutes
#   make lint   rustfmt, clippy and rustdoc with warnings denied; dependencies; the docs' links and words
#   make manifests  checks what kustomize and Helm render, Kubernetes' schemas, alerts
#   make docs   builds the manual with mdBook, checking its links: target/book/index.html
#   make msrv   compiles with the oldest supported Rust version
#   make advisories  checks the dependencies against RustSec, which is on GitHub
#   make image  builds the images of the DaemonSet and of the policies: target/image/*.tar
#   make package  packs and compiles the crates that are published
#   make release  builds a release in target/dist: binaries, images, manual, crates, SBOM, digests
#   make bench  measures CNI calls: a table, target/bench/report.json and tests/bench/plots
#   make bench-check  reports regressions against tests/bench/stored.json
#   make authors  times a first policy in JavaScript and in Rust on a fresh Debian 12, as root
#   make profile  records a profile for PGO under target/profile, which later release builds use

CARGO ?= cargo
# Its output would be in another directory.
unexport CARGO_BUILD_TARGET
target := $(or $(CARGO_TARGET_DIR),target)
# Where cargo builds, also if the user's own configuration of cargo says so.
built = $(or $(CARGO_TARGET_DIR),$(shell $(CARGO) metadata --no-deps --offline --format-version 1 2>/dev/null | \
	sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'),target)
# Release builds keep this machine's paths out of what they write.
release_cargo = RUSTFLAGS="$$(deploy/release/flags)" $(CARGO)

.PHONY: help
help:
	@sed -n 's/^#  *\(make .*\)/  \1/p' Makefile

.PHONY: demo
demo:
	@tests/setup/install demo "$(built)"
	$(CARGO) build --bins -p cnidaria-daemon -p cnidaria -p cnidaria-demo -p test-artifacts
	$(CARGO) build-shim
	"$(built)/debug/test-artifacts" build all
	@exec tests/node/enter "$(built)/debug/cnidaria-demo"

.PHONY: test
test:
	@tests/setup/install test "$(built)"
# Build all targets although only binaries are needed: tests enable extra features of shared
# dependencies, which would otherwise be built twice.
	$(CARGO) build --workspace --all-targets
	$(CARGO) build-shim
	"$(built)/debug/test-artifacts" build all
	CNIDARIA_BUILT=yes $(CARGO) test --workspace

.PHONY: soak
soak: rounds ?= 300
soak: seconds ?= 600
soak: load ?= 3600
soak:
	@tests/setup/install test
	@tests/setup/install fuzz
	$(CARGO) build --workspace --bins
	CNIDARIA_CRASH_ROUNDS=$(rounds) $(CARGO) test --package cnidaria-node-tests --test crash -- --nocapture
	$(CARGO) build-shim
	tests/node/enter "$(built)/debug/cnidaria-soak" $(load)
	tests/fuzz/run $(seconds)

.PHONY: collect
collect: kills ?= 1000
collect:
	@tests/setup/install test
	$(CARGO) build --workspace --bins
	$(CARGO) build-shim
	CNIDARIA_HARD_KILLS=$(kills) $(CARGO) test --package cnidaria-node-tests --test collecting -- --nocapture

# Directories with the binaries of other versions: make churn versions="/opt/cnidaria-0.0.9".
.PHONY: churn
churn: pods ?= 10000
churn: swaps ?= 50
churn:
	@tests/setup/install test
	$(CARGO) build --workspace --bins
	$(CARGO) build-shim
	tests/node/enter "$(built)/debug/cnidaria-churn" $(pods) $(swaps) $(versions)

.PHONY: recording
recording: requests ?= 10000
recording:
	@tests/setup/install test
	$(CARGO) build --workspace --all-targets
	$(CARGO) build-shim
	"$(built)/debug/test-artifacts" build all
	tests/node/enter "$(built)/debug/cnidaria-recording" $(requests)

.PHONY: fuzz
fuzz: seconds ?= 180
fuzz:
	@tests/setup/install fuzz
	tests/fuzz/run $(seconds)

.PHONY: lint
lint:
	@tests/setup/install lint
	@tests/setup/install manifests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings --deny unsafe_code
	tests/setup/deny bans licenses sources
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps
	$(CARGO) test --package cnidaria-docs-tests
	tests/deploy/run

.PHONY: manifests
manifests:
	@tests/setup/install manifests
	tests/deploy/run

.PHONY: docs
docs:
	@tests/setup/install lint
	$(CARGO) test --package cnidaria-docs-tests
	tests/docs/build

# The oldest supported version is in Cargo.toml.
.PHONY: msrv
msrv: oldest = $(shell sed -n 's/^rust-version = "\(.*\)"/\1.0/p' Cargo.toml)
msrv:
	@tests/setup/install lint
	rustup toolchain install $(oldest) --profile minimal
	rustup run $(oldest) cargo check --workspace --all-targets

.PHONY: advisories
advisories:
	@tests/setup/install manifests
	tests/setup/deny advisories bans licenses sources

.PHONY: build
build: tools
	host/daemon/build

# Excludes the daemon: built together with the command line, it would link the compiler too.
.PHONY: tools
tools:
	@tests/setup/install lint
	$(release_cargo) build --release -p cnidaria
	$(release_cargo) build-shim

.PHONY: image
image: build
	@tests/setup/install demo
	@tests/setup/install image
	$(CARGO) build -p test-artifacts
	"$(built)/debug/test-artifacts" build all
	deploy/image/build $(target)/release $(target)/shim/cnidaria-shim \
		$(target)/guests/wasm32-unknown-unknown/guest $(target)/image/cnidaria.tar

.PHONY: package
package:
	@tests/setup/install lint
	deploy/release/package

.PHONY: release
release: image
	deploy/release/build $(target)/dist

.PHONY: bench-tools
bench-tools: tools
	@tests/setup/install demo
	$(release_cargo) build-noop
	$(release_cargo) build --release -p cnidaria-bench
	$(release_cargo) build --release -p test-artifacts
	$(target)/release/test-artifacts build all

.PHONY: bench-build
bench-build: build bench-tools

.PHONY: profile
profile: bench-tools
	@tests/setup/install profile
	host/daemon/build profile

# One policy per other language, with its example's settings.
.PHONY: bench-languages
bench-languages: bench-build
	@tests/setup/install test
	$(target)/release/test-artifacts build-languages $(target)/bench/languages
	cp tests/bench/languages/*.json $(target)/bench/languages

.PHONY: bench
bench: languages := $(target)/bench/languages
bench: bench-languages
	tests/node/enter $(target)/release/cnidaria-bench run --output $(target)/bench/report.json \
		--module $(languages)/javascript.wasm --module $(languages)/python.wasm
	$(target)/release/cnidaria-bench plot $(target)/bench/report.json tests/bench/plots

.PHONY: bench-check
bench-check: bench-build
	tests/node/enter $(target)/release/cnidaria-bench run --quick --output $(target)/bench/check.json
	$(target)/release/cnidaria-bench compare tests/bench/stored.json $(target)/bench/check.json

.PHONY: authors
authors: tools
	tests/authors/clock javascript $(target)/release/cnidaria
	tests/authors/clock rust $(target)/release/cnidaria

.PHONY: clean
clean:
	$(CARGO) clean
