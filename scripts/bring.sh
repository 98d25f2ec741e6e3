#!/bin/sh
# Installs the programs that the tests need and that neither Cargo nor npm installs:
#
#   scripts/bring.sh postgresql chromium pgbouncer python3-venv
#
# A program that is there already is left alone. A missing program comes from Debian's packages, or from Ubuntu's
# packages except for Chromium, if this user may install them. Otherwise a message says how to install it by hand.
set -eu

is_there() {
    case $1 in
    postgresql)
        [ -n "${WATCHFLOOR_TEST_POSTGRES-}" ] || command -v initdb >/dev/null ||
            [ -n "$(find /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ]
        ;;
    chromium) command -v "${CHROMIUM:-chromium}" >/dev/null ;;
    # Debian installs it into a folder that only the PATH of root names.
    pgbouncer) command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] ;;
    # Debian's package python3 cannot make an environment alone: ensurepip is in the package python3-venv.
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    *)
        echo "usage: scripts/bring.sh [postgresql] [chromium] [pgbouncer] [python3-venv]" >&2
        exit 2
        ;;
    esac
}

missing=
for package in "$@"; do
    is_there "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

by_hand() {
    echo "missing:$missing. $1" >&2
    echo "Install by hand (Fedora: dnf install postgresql-server chromium pgbouncer python3; macOS: brew install postgresql pgbouncer python, and" >&2
    echo "any Chromium that the variable CHROMIUM names), or name a PostgreSQL server in WATCHFLOOR_TEST_POSTGRES." >&2
    exit 1
}

command -v apt-get >/dev/null || by_hand "This machine has no apt-get."
as_root=
if [ "$(id -u)" != 0 ]; then
    { command -v sudo >/dev/null && sudo -n true 2>/dev/null; } || by_hand "The installation needs root, or sudo without a password."
    as_root="sudo -n"
fi

# Debian's package creates a cluster and starts it. The tests start their own clusters and leave nothing behind, so this
# setting prevents it. A setting that is already there stays.
clusters=/etc/postgresql-common/createcluster.conf
if [ ! -e "$clusters" ]; then
    $as_root mkdir -p "${clusters%/*}"
    echo "create_main_cluster = false" | $as_root tee "$clusters" >/dev/null
fi

$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get install -qq -y --no-install-recommends $missing
# The package of PgBouncer starts a service. The tests start their own PgBouncer.
case $missing in
*pgbouncer*) [ ! -d /run/systemd/system ] || $as_root systemctl disable --quiet --now pgbouncer ;;
esac
for package in $missing; do
    is_there "$package" || by_hand "Its package is installed, but the program is not where it should be."
done
