# Nothing but names for what cargo and scripts/ do.

PREFIX ?= /usr/local
DESTDIR ?=
SHARE = $(DESTDIR)$(PREFIX)/share

# Which control groups the benchmark sees: v1, v1-nocpu, v2 or host. See bench/cgroup-env.
CGROUP ?= host
# More options of the benchmark, for example BENCH='--rounds 5 --alive 0'.
BENCH ?=

.PHONY: build demo test test-vm bench fuzz peers install clean

build:
	scripts/build

demo:
	@scripts/demo

test:
	@scripts/test

test-vm:
	@scripts/test-vm

# In a PID namespace no container outlives the benchmark, however that ends.
bench:
	scripts/setup bench
	scripts/build
	cargo build --locked --package bench
	unshare --pid --fork --kill-child --mount-proc \
		bench/cgroup-env $(CGROUP) cargo run --quiet --locked --package bench -- --out target/bench/$(CGROUP) $(BENCH)

# For how many seconds each parser is tried out.
SECONDS ?= 60
fuzz:
	scripts/fuzz $(SECONDS)

# Newer runtimes to measure with.
peers:
	scripts/peers

install:
	scripts/build
	cargo xtask man target/man
	cargo xtask completions target/completions
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin bin/tare
	install -D -m 644 -t $(SHARE)/man/man8 target/man/*.8
	install -D -m 644 target/completions/tare.bash $(SHARE)/bash-completion/completions/tare
	install -D -m 644 -t $(SHARE)/zsh/site-functions target/completions/_tare
	install -D -m 644 -t $(SHARE)/fish/vendor_completions.d target/completions/tare.fish

clean:
	cargo clean
	rm -rf bin
