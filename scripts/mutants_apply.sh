#!/bin/sh
# Checks without a build that every mutant of tests/mutants applies to the sources here and that its test exists.
set -eu
cd "$(dirname "$0")/.."

found=0
for patch in tests/mutants/*.patch; do
    filter=$(sed -n 's/^# test: *//p' "$patch" | head -n 1)
    git apply --check "$patch" || {
        echo "$patch does not apply"
        found=1
    }
    case $filter in
    *::tests::*)
        file=src/$(echo "${filter%%::tests::*}" | sed 's|::|/|g')
        name=${filter##*::}
        set -- "$file.rs" "$file/mod.rs" "$file/tests.rs"
        ;;
    *)
        # A filter of tests/it may end with the database's name.
        name=$(echo "$filter" | sed 's/::sqlite$//; s/::postgres$//; s/.*:://')
        set -- tests/it
        ;;
    esac
    # The name may be that of a function, or of a part of a table of tests.
    grep -rqs "$name" "$@" || {
        echo "$patch names the test $filter, which is not there"
        found=1
    }
done
exit "$found"
