#!/bin/sh
# Breaks the source on purpose, one patch at a time, and checks that the named test fails.
#
#   [JOBS=2] scripts/mutants.sh [PATCH...]     by default all of tests/mutants/*.patch
#
# A patch begins with two lines: `# test: FILTER`, the filter for `cargo test`, and `# breaks: SENTENCE`. It must apply
# to HEAD. A filter with `::tests::` names a unit test; any other filter names a test of tests/it.
# Each patch is tried in a worktree of HEAD, target/mutants/tree. Your own tree is never touched, and uncommitted
# changes are not tried. All mutants of a job share a build folder that is kept, so that only the first run is long. The
# path of the worktree never changes, because Cargo would treat equal source at another path as another crate. Of
# tests/it, only the modules that the named test needs are built: that halves the time of a build.
# With JOBS=2 (or more), so many patches are tried at once, each job in a worktree and a build folder of its own.
set -eu
cd "$(dirname "$0")/.."
root=$PWD

[ $# -gt 0 ] || set -- tests/mutants/*.patch
[ -e "$1" ] || {
    echo "there is no $1" >&2
    exit 1
}

jobs=${JOBS:-1}
work=$root/target/mutants
mkdir -p "$work"
mkdir "$work/running" 2>/dev/null || {
    echo "another run is at work here (if not: rmdir $work/running)" >&2
    exit 1
}
folder=$(mktemp -d "${TMPDIR:-/tmp}/watchfloor-mutants.XXXXXX")
# The first job has the folders of a run without JOBS.
at_job() {
    suffix=
    [ "$1" = 1 ] || suffix=-$1
    tree=$work/tree$suffix
    log=$folder/log$suffix
    export CARGO_TARGET_DIR="$work/build$suffix"
}
remove_trees() {
    for old in "$work"/tree*; do
        [ ! -e "$old" ] || git -C "$root" worktree remove --force "$old" 2>/dev/null || rm -rf "$old"
    done
    git -C "$root" worktree prune
}
clean_up() {
    # shellcheck disable=SC2046 # a list of numbers
    kill $(jobs -p) 2>/dev/null || true
    remove_trees
    rm -rf "$folder"
    rmdir "$work/running"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# A run that was killed left its worktrees behind.
remove_trees
for job in $(seq "$jobs"); do
    at_job "$job"
    git worktree add --quiet --detach "$tree" HEAD
    # The binary embeds the built pages, which are not committed.
    [ ! -d web/dist ] || cp -R web/dist "$tree/web/dist"
    [ ! -d tests/npm/node_modules ] || ln -s "$root/tests/npm/node_modules" "$tree/tests/npm/node_modules"
    [ ! -d target/python ] || { mkdir -p "$tree/target" && ln -s "$root/target/python" "$tree/target/python"; }
done
export CARGO_TERM_COLOR=never

limited=
if command -v timeout >/dev/null; then limited="timeout 600"; fi

header() {
    sed -n "s/^# $1: *//p" "$2" | head -n 1
}

# Leaves in tests/it only the modules that the test of this filter needs: its own, and those that they name.
only_modules_of() {
    modules="support ${1%%::*}"
    more=$modules
    while [ -n "$more" ]; do
        named=
        for module in $more; do
            for file in "$tree/tests/it/$module.rs" "$tree/tests/it/$module"/*.rs "$tree/tests/it/$module"/*/*.rs; do
                [ ! -f "$file" ] || named="$named $(grep -oE '(crate|super)::[a-z_]+' "$file" | sed 's/.*:://')"
            done
        done
        more=
        for module in $named; do
            case " $modules " in
            *" $module "*) ;;
            *)
                modules="$modules $module"
                more="$more $module"
                ;;
            esac
        done
    done
    pattern=$(echo "$modules" | tr -s ' ' '|')
    git -C "$tree" show HEAD:tests/it/main.rs >"$log"
    {
        grep -v '^mod ' "$log"
        grep -E "^mod ($pattern);" "$log"
    } >"$tree/tests/it/main.rs"
}

# Runs the tests of a filter in the tree. Prints green, red, or why there is no result.
verdict() {
    case $1 in
    *::tests::*) where=--lib ;;
    *)
        where="--test it"
        only_modules_of "$1"
        ;;
    esac
    # shellcheck disable=SC2086 # a list of words
    if ! (cd "$tree" && cargo test --locked $where --no-run) >"$log" 2>&1; then
        echo "does not compile"
    elif (cd "$tree" && $limited cargo test --locked $where -- "$1") >"$log" 2>&1; then
        if grep -q '^test result: ok. [1-9]' "$log"; then echo green; else echo "no such test"; fi
    elif grep -q '^test result: FAILED' "$log"; then
        echo red
    else
        # A test that never ends does not count as red: a person who broke the code would wait with it.
        echo "ends without a result, or not within ten minutes,"
    fi
}

table=$folder/table
: >"$table"

row() {
    printf '%-9s %-34s %s\n' "$1" "$2" "$3" | tee -a "$table"
}

fail() {
    row FAILED "$1" "$2"
    echo "$1" >>"$folder/failed"
    if [ -s "$log" ]; then tail -n 30 "$log" | sed 's/^/    | /'; fi
}

located() {
    case $1 in /*) echo "$1" ;; *) echo "$root/$1" ;; esac
}

# Every test must be green without a patch: a test that fails anyway proves nothing. This check comes first, because
# each change of the source costs a build. All tests run at once, which takes a few minutes instead of a quarter of an
# hour. Only if that run is not green, each test runs alone.
at_job 1
: >"$folder/tests"
for patch in "$@"; do
    header test "$(located "$patch")" >>"$folder/tests"
done
sort -u -o "$folder/tests" "$folder/tests"
grep '::tests::' "$folder/tests" >"$folder/tests-lib" || true
grep -v '::tests::' "$folder/tests" >"$folder/tests-it" || true

# Succeeds if every filter in a file names a test, and all of these tests are green.
green_together() {
    [ -s "$1" ] || return 0
    where=$2
    # shellcheck disable=SC2086 # a list of words
    (cd "$tree" && cargo test --locked $where -- --list) >"$folder/list" 2>"$log" || return 1
    while read -r test; do grep -qF "$test" "$folder/list" || return 1; done <"$1"
    # shellcheck disable=SC2046,SC2086 # a filter has no blank
    (cd "$tree" && cargo test --locked $where -- $(cat "$1")) >"$log" 2>&1
}

: >"$folder/green"
if green_together "$folder/tests-lib" --lib && green_together "$folder/tests-it" "--test it"; then
    cp "$folder/tests" "$folder/green"
else
    while read -r test; do
        before=$(verdict "$test" </dev/null)
        if [ "$before" = green ]; then
            echo "$test" >>"$folder/green"
        else
            fail "(no patch)" "$test is not green: $before"
        fi
    done <"$folder/tests"
fi

# Tries one patch in the tree of the job.
try_patch() {
    patch=$(located "$1")
    name=$(basename "$patch" .patch)
    test=$(header test "$patch")
    breaks=$(header breaks "$patch")
    : >"$log"
    if [ -z "$test" ] || [ -z "$breaks" ]; then
        fail "$name" "does not open with '# test:' and '# breaks:'"
        return
    fi
    if ! grep -qxF "$test" "$folder/green"; then
        fail "$name" "$test is not green without the patch"
        return
    fi
    if ! git -C "$tree" apply --index "$patch" 2>"$log"; then
        fail "$name" "no longer applies to HEAD"
        return
    fi
    after=$(verdict "$test")
    git -C "$tree" reset --quiet --hard HEAD
    case $after in
    red) row killed "$name" "$breaks" ;;
    green) fail "$name" "SURVIVED: $test does not notice that $breaks" ;;
    *) fail "$name" "$after with the patch" ;;
    esac
}

# Tries every jobs-th patch, beginning with the patch of the job's number.
try_patches() {
    at_job "$1"
    number=$1
    shift
    at=0
    for patch in "$@"; do
        at=$((at + 1))
        [ $(((at - number) % jobs)) != 0 ] || try_patch "$patch"
    done
}

for job in $(seq "$jobs"); do
    (
        trap - EXIT
        try_patches "$job" "$@"
    ) &
done
wait

printf '\n'
cat "$table"
failures=$(($(cat "$folder/failed" 2>/dev/null | wc -l)))
printf '\n%s mutants, %s not killed\n' "$#" "$failures"
[ "$failures" = 0 ]
