#!/bin/sh
# Fails if Cargo.toml names a dependency that no source uses. Installs cargo-machete into target/machete, if necessary.
set -eu
cd "$(dirname "$0")/.."

version=0.9.2
program=target/machete/bin/cargo-machete
if [ "$("$program" --version 2>/dev/null || true)" != "$version" ]; then
    cargo install --quiet --locked --root target/machete --version "$version" cargo-machete
fi
# Not as a subcommand of cargo: the folder is not in the PATH.
exec "$program" --skip-target-dir .
