#!/bin/sh
# Brings what the tests need and Cargo and npm do not: scripts/bring.sh postgresql chromium pgbouncer python3-venv
#
# What is there already is left alone. What is missing comes from Debian's packages (Ubuntu's too, but for Chromium), where this
# may install them; elsewhere the message says what to install by hand.
set -eu

is_there() {
    case $1 in
    postgresql)
        [ -n "${WATCHFLOOR_TEST_POSTGRES-}" ] || command -v initdb >/dev/null ||
            [ -n "$(find /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ]
        ;;
    chromium) command -v "${CHROMIUM:-chromium}" >/dev/null ;;
    # Debian puts it where only root's PATH leads.
    pgbouncer) command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] ;;
    # Debian's python3 alone makes no environment: what puts pip into it is in the other package.
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

command -v apt-get >/dev/null || by_hand "There is no apt-get here to bring it."
as_root=
if [ "$(id -u)" != 0 ]; then
    { command -v sudo >/dev/null && sudo -n true 2>/dev/null; } || by_hand "Neither root nor sudo without a password is at hand."
    as_root="sudo -n"
fi

# Debian's package makes a cluster and starts it. The tests start their own, and nothing is to stay behind, so: none, unless
# somebody has decided otherwise before.
clusters=/etc/postgresql-common/createcluster.conf
if [ ! -e "$clusters" ]; then
    $as_root mkdir -p "${clusters%/*}"
    echo "create_main_cluster = false" | $as_root tee "$clusters" >/dev/null
fi

$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get install -qq -y --no-install-recommends $missing
# Its package starts a service; the tests start their own.
case $missing in
*pgbouncer*) [ ! -d /run/systemd/system ] || $as_root systemctl disable --quiet --now pgbouncer ;;
esac
for package in $missing; do
    is_there "$package" || by_hand "Its package is installed, yet it is not where it should be."
done
