# Thin targets: each one says what is done, the work is in cargo and in tests/.
#
#   make demo   sees it run: two networks, three policies, on a private node on this machine
#   make test   runs every test
#   make lint   fmt, clippy and rustdoc, warnings denied

CARGO ?= cargo
target := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help:
	@sed -n 's/^#  *\(make .*\)/  \1/p' Makefile

.PHONY: demo
demo:
	@tests/setup/install demo
	$(CARGO) build --bins -p cnidaria-daemon -p cnidaria -p cnidaria-demo -p test-artifacts
	$(CARGO) build-shim
	$(target)/debug/test-artifacts build all
	@exec tests/node/enter $(target)/debug/cnidaria-demo

.PHONY: test
test:
	@tests/setup/install test
	$(CARGO) build --workspace --bins
	$(CARGO) build-shim
	$(target)/debug/test-artifacts build all
	CNIDARIA_BUILT=yes $(CARGO) test --workspace

.PHONY: lint
lint:
	@tests/setup/install lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps

.PHONY: build
build:
	@tests/setup/install lint
	$(CARGO) build --workspace --bins --release

.PHONY: clean
clean:
	$(CARGO) clean
