#!/bin/sh
# Runs every check that a change must pass, for `make test` and .ci/run. The last line appears only if all checks pass.
set -eu
cd "$(dirname "$0")/.."

step() {
    printf '\n== %s\n' "$*"
}

step "format"
cargo fmt --all --check

step "mutants apply"
scripts/mutants_apply.sh

step "what the tests need"
scripts/bring.sh postgresql chromium pgbouncer

# The pages come before the first compilation, because the binary embeds them.
step "web pages"
make --no-print-directory web

step "npm packages of the protocol tests"
if [ -d tests/npm ]; then npm ci --prefix tests/npm --no-audit --no-fund; else echo "there are none"; fi

step "Python packages of the protocol tests"
scripts/python.sh

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --quiet --workspace --no-deps --document-private-items --locked

step "unused dependencies"
scripts/machete.sh

# With the script, the cluster has stopped when this line returns. Without it, each test program starts its own cluster,
# which a watchdog stops a moment after the program.
step "tests, on SQLite and on PostgreSQL"
if [ -n "${WATCHFLOOR_TEST_POSTGRES-}" ]; then
    cargo test --workspace --locked
else
    scripts/postgres.sh run cargo test --workspace --locked
fi

printf '\nEvery check passed: format, web pages, lints, documentation, dependencies, and the tests on both databases.\n'
