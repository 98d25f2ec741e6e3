# The text after ## is the target's line in `make help`.

.DEFAULT_GOAL := help
.PHONY: help demo test dist bench storm worst replay chaos faults fuzz mutants schema web fmt audit clean
# Prerequisites are made one after another, in their order. Cargo and Vite use every core by themselves.
.NOTPARALLEL:
.DELETE_ON_ERROR:

PAGES := web/dist/index.html
PAGE_SOURCES := $(shell find web examples \( -name node_modules -o -name dist -o -name test-results \) -prune -o -type f -print 2>/dev/null)

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf 'make %-8s %s\n' "$$name" "$$what"; done

# The demo uses the dev profile: on a fresh machine with two busy cores it runs after 5 minutes. Measured there, the
# dependencies at opt-level 1 took 16 minutes, and a release build takes longer still. A desk of this size spends its
# time in SQLite, which every profile optimises. Cargo replaces itself with the desk, so Ctrl-C and a kill reach it.
demo: web ## start a desk with sample incidents and print its addresses; Ctrl-C ends it
	@exec cargo run --locked --bin watchfloor -- demo $(if $(LIVE),--live)

test: ## check everything, on SQLite and on PostgreSQL
	@exec scripts/test.sh

# The symbols stand apart: `gdb` and `perf` find watchfloor.debug beside the binary, by its link.
DIST := target/dist/stripped
dist: web ## build the binary to give away into target/dist/stripped, with its symbols apart
	cargo build --profile dist --locked --bin watchfloor
	@mkdir -p $(DIST)
	objcopy --only-keep-debug target/dist/watchfloor $(DIST)/watchfloor.debug
	objcopy --strip-all --add-gnu-debuglink=$(DIST)/watchfloor.debug target/dist/watchfloor $(DIST)/watchfloor
	@ls -l $(DIST)

bench: web ## measure the numbers in the README
	cargo bench --locked

storm: web ## ingest 100,000 alerts in five minutes while 1,000 screens watch and 20 analysts work (ALERTS, SECONDS, SCREENS, ANALYSTS)
	cargo bench --locked --bench storm

worst: web ## search for the most expensive requests that the desk accepts
	cargo build --release --locked --bin watchfloor
	scripts/worst.py search

# The build is optimised: twenty subscribers follow each of 121,000 operations, on each database.
replay: web ## replay recorded days against a desk while subscribers listen, and compare what they received
	WATCHFLOOR_REPLAY=all cargo test --release --locked --test it -- replay:: --nocapture --test-threads 1

# `make test` contains a short run of this test.
chaos: web ## kill nodes and PostgreSQL while clients work, for ten minutes (LONG=seconds), and compare every list
	WATCHFLOOR_CHAOS_SECONDS=$(or $(LONG),600) cargo test --locked --test it -- chaos:: --nocapture --test-threads 1

# `make test` contains a sample of these tests. The test of the full disk needs root to mount a small disk. Without root
# it says so and passes.
faults: web ## let every write and message fail, lose power at every moment, fill a disk 20 times, kill the desk 200 times
	WATCHFLOOR_FAULTS=all cargo test --locked --test it -- faults:: hardship:: --nocapture --test-threads 1

# `make test` contains a thousand of these documents on each database.
fuzz: web ## compare random documents with the reference implementation, and fuzz imports with broken files (DOCUMENTS=50000, SEED=1, SECONDS_EACH=300)
	WATCHFLOOR_FUZZ_DOCUMENTS=$(or $(DOCUMENTS),50000) WATCHFLOOR_FUZZ_SEED=$(or $(SEED),1) \
	cargo test --locked --test it -- what_the_reference_implementation_accepts --nocapture --test-threads 1
	@exec scripts/fuzz.sh

mutants: web ## break the source on purpose, and check that a test fails each time
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

clean: ## remove the built files, but not the downloaded packages
	cargo clean
	rm -rf web/dist web/test-results

ifneq ($(wildcard web/package.json),)
web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20.19 or newer" >&2; exit 1; }
	npm ci --prefix web --no-audit --no-fund
	@touch $@

# The build runs tsc first, because Vite removes types without checking them.
$(PAGES): $(PAGE_SOURCES) web/node_modules/.package-lock.json
	npm run build --prefix web
	@touch $@
else
$(PAGES):
	@echo "there are no pages to build"
endif
