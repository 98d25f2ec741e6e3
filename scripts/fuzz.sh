#!/usr/bin/env bash
# Fuzzes every target of fuzz/, or only the named targets, each for SECONDS_EACH seconds (default 300):
#   scripts/fuzz.sh [target…]
# cargo-fuzz needs a nightly toolchain only for sanitizers. Without them, the toolchain of the service is enough.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
seconds=${SECONDS_EACH:-300}
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(cargo fuzz list)
fi
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus"
    # The first inputs of the target `import` are fixtures of the tests. The first byte of an input chooses its format.
    if [ "$target" = import ]; then
        for file in tests/it/fixtures/odd/*; do
            for choice in 0 1 2 3 4; do
                { printf "\\x0$choice"; head -c 65536 "$file"; } > "$corpus/$(basename "$file").$choice"
            done
        done
    fi
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --dev "$target" "$corpus" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048
done
