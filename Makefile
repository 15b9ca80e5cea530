# Everything a developer or operator does with Onsale on one machine. `make help` lists it.
#
# Variables: STATE (where a stack lives, default .local), PORT (default 8080), WORKERS (default 2), ENGINE (single, or ha:
# PostgreSQL with a standby that takes over).
# They can come from the environment or the command line: STATE=.local2 PORT=8090 make up

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

export STATE ?= .local
# No defaults for these here: a stack that exists keeps the ones it was started with.
export PORT
export WORKERS
export ENGINE

BINARY := .build/release/onsale
PYTHON := .venv/bin/python

.PHONY: help
help: ## Show this list
	@echo "Usage: [STATE=.local] [PORT=8080] [WORKERS=2] make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install the Debian packages that are missing (as root, or by sudo)
	@deploy/deps run build

.PHONY: build
build: deps ## Build .build/release/onsale
	@swift build -c release

.PHONY: up
up: build ## Start the local stack, with demo events, and say what to try (ENGINE=ha: with a standby that takes over)
	@if [[ "$${ENGINE:-}" == ha ]]; then deploy/deps ha; source deploy/lib/shell.sh; install_python; fi
	@deploy/stack up

.PHONY: down
down: ## Stop the local stack; its data stays
	@deploy/stack down

.PHONY: status
status: ## Show what of the local stack runs
	@deploy/stack status

.PHONY: logs
logs: ## Show the end of every log (FOLLOW=1 to keep following)
	@deploy/stack logs

.PHONY: token
token: ## Print a customer's token (ROLE=organizer: an organizer's)
	@deploy/stack token

.PHONY: demo
demo: up ## Start the stack, then let 20,000 buyers rush for 2,000 seats (ENGINE=ha: its primary is killed on the way)
	@deploy/stack rush

.PHONY: test
test: ## Run every test (on a machine with nothing installed: installs, builds, tests)
	@deploy/test

.PHONY: check
check: deps ## Lint, and run the tests that need no server (a minute or two after a build)
	@deploy/deps test
	@deploy/check

.PHONY: test-fast
test-fast: deps ## Run the Swift tests only
	@swift build -c release --build-tests
	@deploy/test-swift

.PHONY: test-faults
test-faults: ## Kill, stop, cut off and fill up everything, with an audit after each (ARGS="--rows 2,7")
	@deploy/test-faults $(ARGS)

.PHONY: test-hostile
test-hostile: build ## Attack a stack: whatever clients can say, by seed, and the API's document (SEED=N CASES=N)
	@deploy/test-hostile

.PHONY: chaos
chaos: build ## Sell while parts are killed, stopped and cut off at random, then audit (SEED=N: as that time)
	@deploy/deps run build
	@deploy/chaos

.PHONY: fuzz
fuzz: deps ## Look for inputs that break a decoder, a minute each (TARGETS="plan table" SECONDS_EACH=60)
	@deploy/fuzz $(TARGETS)

.PHONY: sanitize
sanitize: deps ## The tests of callbacks and threads under AddressSanitizer and ThreadSanitizer (two builds of their own)
	@deploy/deps test
	@deploy/sanitize $(KINDS)

.PHONY: coverage
coverage: deps ## What the Swift tests run, by file, and what nothing runs (a build of its own)
	@deploy/deps test
	@deploy/coverage

.PHONY: sbom
sbom: build ## Write .build/sbom.cdx.json: what Onsale runs with here, with versions (CycloneDX)
	@deploy/sbom > .build/sbom.cdx.json
	@echo ".build/sbom.cdx.json"

.PHONY: advisories
advisories: build ## Say which of that has a known vulnerability that an update fixes
	@deploy/deps audit
	@deploy/advisories

.PHONY: lint
lint: ## Check the format of Swift, and the scripts
	@deploy/deps test build
	@deploy/lint

.PHONY: format
format: ## Format all Swift files
	@swift format format --in-place --parallel --recursive Package.swift Sources Tests

.PHONY: bench
bench: build ## Measure this machine, each figure beside its floor (half an hour; RUNGS="poll search": these alone)
	@deploy/deps run build test bench
	@deploy/bench $(RUNGS)

.PHONY: profile
profile: build ## What the processor time of poll, reserve, grants and purchases is made of (RUNGS="poll": that alone)
	@deploy/deps run build test bench profile
	@deploy/bench --profile $(RUNGS)

.PHONY: stadium
stadium: build ## A million people in line at once for 70,000 seats, then the audit
	@deploy/deps run build test bench
	@deploy/bench stadium

.PHONY: bench-sign-ins
bench-sign-ins: build ## How long 5,000 people take to sign in who come at the same moment (some minutes)
	@deploy/deps run build test bench
	@deploy/bench-sign-ins

.PHONY: clean
clean: ## Stop the local stack and remove its data and everything built
	@deploy/stack remove
	rm -rf .build .venv test-results
