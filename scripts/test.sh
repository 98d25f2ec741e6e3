#!/bin/sh
# Everything that must hold before a change goes in; `make test` and .ci/run call it. The last line comes only if all went well.
set -eu
cd "$(dirname "$0")/.."

step() {
    printf '\n== %s\n' "$*"
}

step "format"
cargo fmt --all --check

step "what the tests need"
scripts/bring.sh postgresql chromium pgbouncer

# Before anything is compiled: the binary embeds the built pages.
step "web pages"
make --no-print-directory web

step "npm packages of the protocol tests"
if [ -d tests/npm ]; then npm ci --prefix tests/npm --no-audit --no-fund; else echo "there are none"; fi

step "Python packages of the protocol tests"
scripts/python.sh

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

# Through the script the cluster is stopped when this line returns. By itself each test program starts one, and leaves it to a
# watchdog that needs another moment.
step "tests, on SQLite and on PostgreSQL"
if [ -n "${WATCHFLOOR_TEST_POSTGRES-}" ]; then
    cargo test --workspace --locked
else
    scripts/postgres.sh run cargo test --workspace --locked
fi

printf '\nEvery check passed: format, web pages, lints, and the tests on both databases.\n'
