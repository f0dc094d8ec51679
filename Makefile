# verify never writes; fix does; CI calls the same targets.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help dev build verify fix test test-needs deploy-check bench jepsen jepsen-smoke soak mutants sim sim-gate sim-replay sim-mutants ssh-audit join-million clean-dev

help:            ## this text
	@grep -E '^[a-z-]+: *.*##' $(MAKEFILE_LIST) | sed -E 's/: *.*## /\t/'

dev:             ## build, then run three nodes on loopback with a demo user (ends with Ctrl-C)
	$(CARGO) build --release --locked -p flotilla
	$$($(CARGO) metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')/release/flotilla dev --dir dev-data $(ARGS)

build:           ## the release binary
	$(CARGO) build --release --locked -p flotilla

verify:          ## formatting, lints, licences; writes nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --log-level error check licenses bans sources; \
	else echo "cargo-deny is not installed (cargo install cargo-deny): licences, bans and sources were NOT checked"; fi

fix:             ## what verify would complain about, as far as tools can mend it
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

test-needs:      ## installs what the tests drive: OpenSSH client and server, sshpass, HAProxy (PyPI sftpgo-client and openapi-spec-validator: by their tests, into the target folder), strace, nftables, faketime, python3-venv
	@need=(); for pair in sftp:openssh-client ssh-keygen:openssh-client sshpass:sshpass haproxy:haproxy faketime:faketime /usr/lib/openssh/sftp-server:openssh-sftp-server strace:strace logrotate:logrotate ip:iproute2 nft:nftables; do \
	  tool=$${pair%%:*}; command -v $$tool >/dev/null || [ -x $$tool ] || need+=($${pair##*:}); done; \
	python3 -c 'import ensurepip, venv' 2>/dev/null || need+=(python3-venv); \
	if [ $${#need[@]} -gt 0 ]; then echo "installing for the tests: $${need[*]}"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; $$sudo apt-get update -qq && $$sudo apt-get install -y -qq "$${need[@]}" >/dev/null; \
	else echo "what the tests need is here: sftp, ssh-keygen, sshpass, haproxy, faketime, sftp-server, strace, logrotate, ip, nft, python3 with venv"; fi

test: test-needs ## all tests, against real OpenSSH clients and real processes
	$(CARGO) build --locked -p flotilla
	deploy/check.sh gate
	$(CARGO) test --workspace --locked --quiet --no-fail-fast

deploy-check:    ## everything under deploy/, by the tools that are installed (deploy/check.sh install)
	deploy/check.sh

ssh-audit:       ## ssh-audit against a node: fails on anything beyond the decided findings
	$(CARGO) build --locked -p flotilla
	jepsen/scripts/ssh-audit.sh

join-million:    ## how long a machine takes to join a cluster with 1,000,000 users (some minutes; 4 GiB of memory)
	$(CARGO) build --release --locked -p flotilla
	jepsen/scripts/join-million.py $(TARGET)/release/flotilla $(USERS)

bench:           ## figures beside OpenSSH in the same run (minutes; ARGS=--quick only tries it)
	$(CARGO) build --release --locked -p flotilla -p flotilla-jepsen
	$(TARGET)/release/bench $(ARGS)
	$(CARGO) bench --locked -p flotilla-raft -p flotilla-model -p flotilla-vfs

# What `make jepsen` and `make soak` run: workloads, faults (one that is named twice is made twice as often), nodes, seconds, where it is kept.
W ?= w1,w2,w3,w4,w5,w6,w10
F ?= kill,fast-restart,kill-all,pause,pause-holder,rolling,transfer,drain,replace,disk-full,power-cut,sync-error,slow-disk,flipped-bits,partition,clients-only,loss,resets,delay,corrupt,wall-clock,snapshots
N ?= 3
S ?= 120
SEED ?= 1
SOAK_NODES ?= 5
# Of these each run of a soak has one, every third none: they change the storage, or how often a snapshot is made, for the whole run.
IN_TURN ?= behind,storage-power-cut
SEEDS ?= 5
OUT ?= /tmp/flotilla-jepsen-$(shell date +%Y%m%d-%H%M%S)
TARGET = $(shell $(CARGO) metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')

jepsen:          ## one fault run: W=workloads F=faults N=nodes S=seconds OUT=folder
	$(CARGO) build --release --locked -p flotilla -p flotilla-jepsen
	$(TARGET)/release/flotilla-jepsen run -w $(W) -f $(F) -n $(N) -s $(S) -o $(OUT) $(ARGS)

# With the features of `make test`, which has built it all.
jepsen-smoke:    ## a fault run of some two minutes, the last part of .ci/run: three nodes, kill, pause, partition, fast restart
	$(CARGO) test --workspace --locked --quiet --no-run
	$(TARGET)/debug/flotilla-jepsen run -w w1,w2,w4,w6 -f kill,pause,pause-holder,pause-holder,partition,fast-restart -s 90 -o $(OUT) $(ARGS)

soak:            ## HOURS=n: run after run on five nodes, all faults, all workloads
	$(CARGO) build --release --locked -p flotilla -p flotilla-jepsen
	$(TARGET)/release/flotilla-jepsen soak --hours $(HOURS) --out $(OUT) --first-seed $(SEED) $(if $(IN_TURN),--in-turn $(IN_TURN)) \
	  --results jepsen/results/$(shell date +%Y-%m-%d-%H%M).md -- -w $(W) -f $(F) -n $(SOAK_NODES) -s 300

mutants:         ## builds with planted bugs; each must be caught by its workload
	$(CARGO) build --locked -p flotilla-jepsen
	$(CARGO) build --locked -p flotilla --features planted-bugs --target-dir $(TARGET)/planted
	$(TARGET)/debug/flotilla-jepsen selftest --binary $(TARGET)/planted/debug/flotilla --seeds $(SEEDS) --out $(OUT)
	$(CARGO) test --locked -p flotilla-session --features planted-bugs --target-dir $(TARGET)/planted --test it planted

# The simulation seeds tokio, which only a build of its own can: its target folder is apart.
SECONDS ?= 60
SEED ?= 1
SIM = RUSTFLAGS="--cfg tokio_unstable" $(CARGO) test --quiet --locked -p flotilla-raft --features simulation,planted-bugs --test sim --target-dir $(TARGET)/sim --

sim:             ## SECONDS=n SEED=first: the seeded simulation, seed after seed until one fails
	$(SIM) soak $(SECONDS) $(SEED)

sim-gate:        ## the simulation's share of .ci/run: same seed, same trace; then seeds for two minutes
	$(SIM) gate

sim-replay:      ## SEED=n: one run with its trace
	$(SIM) replay $(SEED)

sim-mutants:     ## SECONDS=n: each planted bug below the sessions must be found, in the median of five seeds
	$(SIM) score $(SECONDS)
