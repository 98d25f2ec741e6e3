# Each target's line of help stands after its ##.

.DEFAULT_GOAL := help
.PHONY: help demo test bench storm worst replay chaos faults fuzz mutants schema web fmt audit clean
# The order of prerequisites is the order of the work; Cargo and Vite use every core by themselves.
.NOTPARALLEL:
.DELETE_ON_ERROR:

PAGES := web/dist/index.html
PAGE_SOURCES := $(shell find web examples \( -name node_modules -o -name dist -o -name test-results \) -prune -o -type f -print 2>/dev/null)

help: ## say what there is to make
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf 'make %-8s %s\n' "$$name" "$$what"; done

# The dev profile: a fresh machine with two busy cores has it up in 5 minutes. Measured there, the dependencies at opt-level 1 took
# 16, and a release build takes longer still. SQLite, where a desk of this size spends its time, is optimised in every profile.
# Cargo replaces itself by the desk, so Ctrl-C and a kill reach it.
demo: web ## start a desk with sample incidents, and say where to look; Ctrl-C ends it
	@exec cargo run --locked --bin watchfloor -- demo $(if $(LIVE),--live)

test: ## check everything, on SQLite and on PostgreSQL
	@exec scripts/test.sh

bench: web ## measure what the README claims
	cargo bench --locked

storm: web ## take in 100,000 alerts in five minutes while 1,000 screens watch and 20 analysts work (ALERTS, SECONDS, SCREENS, ANALYSTS)
	cargo bench --locked --bench storm

worst: web ## look for the dearest requests that the desk accepts
	cargo build --release --locked --bin watchfloor
	scripts/worst.py search

# Optimised: 121,000 operations on each database, every one followed by twenty subscribers.
replay: web ## replay recorded days against a desk while subscribers listen, and compare
	WATCHFLOOR_REPLAY=all cargo test --release --locked --test it -- replay:: --nocapture --test-threads 1

# make test has a short run of it.
chaos: web ## kill nodes and PostgreSQL under clients for ten minutes (LONG=seconds), and compare every list
	WATCHFLOOR_CHAOS_SECONDS=$(or $(LONG),600) cargo test --locked --test it -- chaos:: --nocapture --test-threads 1

# make test has a sample of it. The small disk is mounted, which takes root; without it that test says so and passes.
faults: web ## fail at every write and message, lose power at every moment, fill a disk 20 times, kill 200 times
	WATCHFLOOR_FAULTS=all cargo test --locked --test it -- faults:: hardship:: --nocapture --test-threads 1

# make test has a thousand documents of it on each database.
fuzz: web ## compare documents of chance with the reference implementation, and feed broken files to imports (DOCUMENTS=50000, SEED=1, SECONDS_EACH=300)
	WATCHFLOOR_FUZZ_DOCUMENTS=$(or $(DOCUMENTS),50000) WATCHFLOOR_FUZZ_SEED=$(or $(SEED),1) \
	cargo test --locked --test it -- what_the_reference_implementation_accepts --nocapture --test-threads 1
	@exec scripts/fuzz.sh

mutants: web ## break the source on purpose, and demand that a test notices each time
	@exec scripts/postgres.sh run scripts/mutants.sh

schema: web ## export the API to schema.graphql
	@mkdir -p target
	cargo run --locked --quiet --bin watchfloor -- schema > target/schema.graphql
	mv target/schema.graphql schema.graphql

web: $(PAGES) ## build the pages that the binary embeds

fmt: ## format the source
	cargo fmt --all

audit: ## check licences, bans and advisories (needs cargo-deny)
	cargo deny check

clean: ## remove what was built, but not what was downloaded for it
	cargo clean
	rm -rf web/dist web/test-results

ifneq ($(wildcard web/package.json),)
web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20.19 or newer" >&2; exit 1; }
	npm ci --prefix web --no-audit --no-fund
	@touch $@

# tsc first: Vite strips types without a look at them.
$(PAGES): $(PAGE_SOURCES) web/node_modules/.package-lock.json
	npm run build --prefix web
	@touch $@
else
$(PAGES):
	@echo "there are no pages to build"
endif
