#!/bin/sh
# Starts a temporary PostgreSQL cluster, and always stops it and removes its folder.
#
#   scripts/postgres.sh run COMMAND...   runs COMMAND beside a cluster that WATCHFLOOR_TEST_POSTGRES names, for example
#                                        `scripts/postgres.sh run cargo nextest run`: each test is then its own process
#   scripts/postgres.sh keep FSYNC       keeps a cluster until standard input closes, with fsync on or off
#   scripts/postgres.sh keep on replica  keeps a cluster that can have a standby
#
# `keep` reads orders from standard input, one a line, and writes a line for each order.
# Before all orders it writes `ready <url> <folder>`.
# - `stop` stops the primary as a crash does, without a checkpoint: `stopped`. `start` starts it again: `started`.
# - `standby` starts a standby: `standby <url>`. `promote` makes it a primary: `promoted`.
# - `kill` kills the primary as `kill -9` does: `killed`.
# - `stop-standby` and `start-standby` do as `stop` and `start` do: `stopped`, `started`.
# tests/it/support/postgres.rs holds the other end of the pipe. The kernel closes it when the tests end, also after a
# panic or `kill -9`. Therefore the lines after the loop always run.
set -eu

die() {
    echo "$*" >&2
    exit 1
}

# Finds PostgreSQL's programs on PATH, else the newest of Debian's versions, which are not on PATH.
find_binaries() {
    if initdb=$(command -v initdb) && initdb=$(readlink -f "$initdb") && [ -x "${initdb%/*}/pg_ctl" ]; then
        bin=${initdb%/*}
        return
    fi
    bin=$(find /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -t/ -k5,5nr | head -n 1)
    bin=${bin%/initdb}
    [ -n "$bin" ] || die "PostgreSQL is missing, and the tests run on it too: install it (Debian, Ubuntu: apt-get install postgresql;" \
        "Fedora: dnf install postgresql-server; macOS: brew install postgresql), put its initdb and pg_ctl on PATH," \
        "or name a server where the tests may create databases in WATCHFLOOR_TEST_POSTGRES=postgres://user:password@host/postgres"
}

# PostgreSQL refuses to run as root. For root it therefore runs as another user, who owns nothing else here.
find_owner() {
    owner=
    [ "$(id -u)" = 0 ] || return 0
    owner=nobody
    if id postgres >/dev/null 2>&1; then owner=postgres; fi
}

as_owner() {
    if [ -z "$owner" ]; then
        "$@"
    elif command -v setpriv >/dev/null; then
        setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups -- "$@"
    elif command -v runuser >/dev/null; then
        runuser -u "$owner" -- "$@"
    else
        # shellcheck disable=SC2016 # the inner shell expands them
        su -s /bin/sh "$owner" -c '"$0" "$@"' -- "$@"
    fi
}

make_cluster() {
    # The data is not secret, but a superuser without a password gives a shell to every local account of the machine.
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s\n' "$password" >"$folder/password"
    [ -z "$owner" ] || chown -R "$owner" "$folder"
    locale=C.UTF-8
    case $(uname) in Darwin) locale=C ;; esac
    as_owner "$bin/initdb" --pgdata="$folder/data" --username=watchfloor --pwfile="$folder/password" --auth=password \
        --encoding=UTF8 --locale="$locale" --no-sync >"$folder/initdb.log" 2>&1 || give_up "initdb failed"
    replication='wal_level = minimal
max_wal_senders = 0'
    [ "$wal" = minimal ] || replication='wal_level = replica'
    # There is no socket in the file system: nothing needs it, and a long TMPDIR would exceed the 107 bytes of its path.
    # Without a standby, the write-ahead log contains only the records that a restart after a crash needs.
    cat >>"$folder/data/postgresql.conf" <<-EOF
		listen_addresses = '127.0.0.1'
		unix_socket_directories = ''
		max_connections = 200
		fsync = $fsync
		$replication
		timezone = 'UTC'
		log_timezone = 'UTC'
		lc_messages = 'C'
	EOF
}

# start DATA PORT starts a server on a folder of data, stop DATA stops it.
start() {
    as_owner "$bin/pg_ctl" start --pgdata="$folder/$1" --log="$folder/$1.log" --options="-p $2" --wait --silent </dev/null >/dev/null 2>&1
}

stop() {
    as_owner "$bin/pg_ctl" stop --pgdata="$folder/$1" --mode=immediate --wait --silent </dev/null >/dev/null 2>&1
}

# Ends the postmaster and all its processes at one moment, as a loss of power does. A process that outlives the
# postmaster shows commits that no standby has confirmed.
kill_primary() {
    postmaster=$(head -n 1 "$folder/data/postmaster.pid")
    kill -STOP "$postmaster"
    # shellcheck disable=SC2046 # a list of processes
    kill -9 $(pgrep -P "$postmaster") "$postmaster"
}

# Makes a standby that follows the primary. A test that needs synchronous commits sets that itself.
make_standby() {
    as_owner "$bin/pg_basebackup" --pgdata="$folder/standby" --write-recovery-conf --checkpoint=fast --no-sync \
        --dbname="postgres://watchfloor:$password@127.0.0.1:$port/postgres" </dev/null >"$folder/basebackup.log" 2>&1 &&
        start_on_a_free_port standby && standby_port=$found
}

promote() {
    as_owner "$bin/pg_ctl" promote --pgdata="$folder/standby" --wait --silent </dev/null >/dev/null 2>&1
}

# Linux gives outgoing connections only ports from 32768 on. A lower port of a stopped cluster therefore stays free.
start_on_a_free_port() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        found=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        if start "$1" "$found"; then return; fi
        grep -q 'could not bind\|in use' "$folder/$1.log" 2>/dev/null || break
    done
    return 1
}

give_up() {
    cat "$folder"/*log >&2
    die "$*"
}

clean_up() {
    trap '' INT TERM HUP
    for data in data standby; do
        if [ -e "$folder/$data/postmaster.pid" ]; then stop "$data" || true; fi
    done
    rm -rf "$folder"
}

keep() {
    fsync=$1
    wal=$2
    find_binaries
    find_owner
    # The reader of an answer may be gone. The lines after the loop must run nevertheless.
    trap '' PIPE
    folder=$(mktemp -d "${TMPDIR:-/tmp}/watchfloor-postgres.XXXXXX")
    trap clean_up EXIT
    trap 'exit 1' INT TERM HUP
    cd "$folder"
    make_cluster
    start_on_a_free_port data || give_up "PostgreSQL did not start"
    port=$found
    echo "ready postgres://watchfloor:$password@127.0.0.1:$port/postgres $folder" || true
    while read -r order; do
        case $order in
        stop) if stop data; then echo stopped; else echo "failed to stop"; fi ;;
        start) if start data "$port"; then echo started; else echo "failed to start: $(tail -n 1 "$folder/data.log")"; fi ;;
        standby)
            if make_standby; then
                echo "standby postgres://watchfloor:$password@127.0.0.1:$standby_port/postgres"
            else
                echo "failed to make a standby: $(tail -qn 1 "$folder/basebackup.log" "$folder/standby.log")"
            fi
            ;;
        kill) if kill_primary; then echo killed; else echo "failed to kill"; fi ;;
        promote) if promote; then echo promoted; else echo "failed to promote"; fi ;;
        stop-standby) if stop standby; then echo stopped; else echo "failed to stop"; fi ;;
        start-standby) if start standby "$standby_port"; then echo started; else echo "failed to start"; fi ;;
        *) echo "unknown order $order" ;;
        esac || true
    done
}

run() {
    pipes=$(mktemp -d "${TMPDIR:-/tmp}/watchfloor-pipes.XXXXXX")
    mkfifo "$pipes/orders" "$pipes/answers"
    sh "$0" keep off <"$pipes/orders" >"$pipes/answers" &
    keeper=$!
    # Only this shell holds the pipe of orders open (COMMAND does not get it), so the cluster ends with this shell.
    exec 8>"$pipes/orders" 9<"$pipes/answers"
    rm -rf "$pipes"
    read -r _ url _ <&9 || die "there is no cluster to run on"
    status=0
    WATCHFLOOR_TEST_POSTGRES=$url "$@" 8>&- 9<&- || status=$?
    exec 8>&-
    wait "$keeper" || true
    exit "$status"
}

case ${1-} in
keep) keep "${2:-off}" "${3:-minimal}" ;;
run)
    shift
    run "$@"
    ;;
*) die "usage: scripts/postgres.sh run COMMAND... | keep on|off [replica]" ;;
esac
