#!/usr/bin/env bash
# Everything that `make demo` and `make test` need, on a machine that may have nothing but Python 3.10+:
#
#   tools/setup.sh demo   .venv with holdfast, its extras and the drivers; a MariaDB server
#   tools/setup.sh test   the same and the development tools; here a missing driver is a failure
#   tools/setup.sh sa20   .venv-sa20, the small environment with SQLAlchemy 2.0
#   tools/setup.sh docs   .venv-docs, the small environment that builds the documentation: no driver, no server
#
# PYTHON chooses the interpreter. What is there already is left alone. As root, or with a sudo that asks no password,
# missing system packages are installed with apt-get; else MariaDB is unpacked into .lab/mariadb, and what cannot be
# had that way is named. Nothing is ever removed or started.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
case $mode in demo | test) venv=.venv ;; sa20 | docs) venv=.venv-$mode ;; *) sed -n '2,11p' "$0"; exit 2 ;; esac

extras='mysqlclient,pymysql,mysqlconnector,flask,cli,lab'
export PIP_DISABLE_PIP_VERSION_CHECK=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- system packages -------------------------------------------------------------------------------------------------

can_install() { have apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

apt_install() { # --no-remove: a server of the machine's owner (MySQL conflicts with MariaDB) is never taken away
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq -y \
        --no-install-recommends --no-remove install "$@" </dev/null >"$log" 2>&1
}

install_packages() { # the package lists are fetched only when apt cannot do without
    say "installing $* (apt-get)"
    apt_install "$@" && return
    say "refreshing apt's package lists"
    as_root apt-get -o DPkg::Lock::Timeout=120 -qq update </dev/null >"$log" 2>&1 && apt_install "$@" && return
    tail -n 5 "$log" >&2
    return 1
}

# --- Python ----------------------------------------------------------------------------------------------------------

ask() { "$python" -c "import sys, sysconfig; print($1)"; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

find_python() { # sets python
    local candidates="python3 python3.14 python3.13 python3.12 python3.11 python3.10 python" candidate
    if [ -n "${PYTHON:-}" ]; then candidates=$PYTHON; elif [ -x .venv/bin/python ]; then candidates=".venv/bin/python $candidates"; fi
    for candidate in $candidates; do
        if new_enough "$candidate"; then python=$candidate && return; fi
    done
    return 1
}

choose_python() {
    if find_python; then return; fi
    if [ -n "${PYTHON:-}" ]; then die "PYTHON=$PYTHON is no Python 3.10 or newer."; fi
    if can_install; then install_packages python3 || true; fi
    find_python || die "no Python 3.10 or newer found: install one, or name it: make demo PYTHON=/path/to/python3"
}

# The distribution's own Python comes in pieces (-venv, -dev); any other Python has them or never will.
is_system_python() { [ "$(ask sys.base_prefix)" = /usr ] && have apt-get; }

make_venv() {
    if "$venv/bin/python" -c 'import pip' 2>/dev/null; then return; fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local package
        package=python$(ask 'sysconfig.get_python_version()')-venv
        if ! is_system_python; then die "$python has no ensurepip, so it cannot make a virtual environment: choose another with PYTHON=…"; fi
        if ! can_install; then die "$python cannot make a virtual environment. Install its other half: apt-get install $package"; fi
        install_packages "$package" || die "could not install $package"
    fi
    say "making $venv with Python $(ask 'sys.version.split()[0]')"
    "$python" -m venv --clear "$venv"
}

# --- what compiling mysqlclient needs ----------------------------------------------------------------------------------

compiles_c() { have cc && echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1; }

has_client_headers() {
    [ -n "${MYSQLCLIENT_CFLAGS:-}" ] || pkg-config --exists mysqlclient 2>/dev/null ||
        pkg-config --exists mariadb 2>/dev/null || pkg-config --exists libmariadb 2>/dev/null
}

missing_build_packages() {
    compiles_c || echo gcc libc6-dev
    have pkg-config || echo pkg-config
    has_client_headers || echo default-libmysqlclient-dev
    [ -e "$(ask 'sysconfig.get_path("include")')/Python.h" ] || echo "python$(ask 'sysconfig.get_python_version()')-dev"
}

provide_mysqlclient() { # sets mysqlclient_left_out
    mysqlclient_left_out=
    if "$venv/bin/python" -c 'import MySQLdb' 2>/dev/null; then return; fi
    local missing
    missing=$(missing_build_packages | xargs)
    if [ -z "$missing" ]; then return; fi
    # shellcheck disable=SC2086 # a list of words
    if can_install && install_packages $missing && [ -z "$(missing_build_packages)" ]; then return; fi
    mysqlclient_left_out=yes
    extras=${extras#mysqlclient,}
    say "the driver mysqlclient is LEFT OUT: it is compiled on the spot, and this machine lacks what that needs." \
        "Debian, Ubuntu: apt-get install $(missing_build_packages | xargs)" \
        "(Fedora: gcc pkgconf mariadb-connector-c-devel python3-devel; macOS: brew install pkgconf mariadb-connector-c)"
    if [ "$mode" != demo ]; then die "the tests need every driver: install these packages, then try again."; fi
}

install_python_packages() {
    say "installing holdfast and $1 into $venv (pip)"
    shift
    "$venv/bin/python" -m pip install -qq 'pip>=25.1' # the first that knows dependency groups
    "$venv/bin/python" -m pip install -qq -e ".[$extras]" "$@"
}

provide_uwsgi() {
    if [ -x "$venv/bin/uwsgi" ]; then return; fi
    say "compiling uWSGI for the part about forked workers (half a minute)"
    compiles_c && "$venv/bin/python" -m pip install -qq uWSGI >"$log" 2>&1
}

# --- a MariaDB server ------------------------------------------------------------------------------------------------

has_server() {
    local place
    for place in "${HOLDFAST_LAB_MARIADBD:-}" "${HOLDFAST_LAB_ROOT:-.lab/mariadb}/usr/sbin/mariadbd" \
        /usr/sbin/mariadbd /usr/libexec/mariadbd /opt/homebrew/opt/mariadb/bin/mariadbd /usr/local/opt/mariadb/bin/mariadbd; do
        if [ -x "$place" ]; then return; fi
    done
    have mariadbd
}

unpack_server() { # unpack_server [APT-OPTION...]: needs no root; sees the same packages as apt-get install would
    local names debs=.lab/debs root=.lab/mariadb.new deb
    names=$(apt-get "$@" -s --no-install-recommends install mariadb-server-core 2>>"$log" |
        awk '$1 == "Inst" && $2 ~ /^(lib.*|mariadb-server-core)$/ && $2 !~ /^libc6/ {print $2}')
    if [ -z "$names" ]; then return 1; fi
    rm -rf "$debs" "$root" && mkdir -p "$debs" "$root"
    # shellcheck disable=SC2086 # a list of words
    (cd "$debs" && apt-get "$@" -qq download $names) >>"$log" 2>&1 || return 1
    for deb in "$debs"/*.deb; do dpkg -x "$deb" "$root" || return 1; done
    LD_LIBRARY_PATH=$(find "$root" -name 'lib*.so*' -printf "$PWD/%h\n" | sort -u | paste -sd :) \
        "$root/usr/sbin/mariadbd" --no-defaults --version >>"$log" 2>&1 || return 1
    rm -rf "$debs" .lab/mariadb && mv "$root" .lab/mariadb
}

unpack_server_with_own_lists() { # the machine's package lists are missing or out of date, and are not ours to refresh
    local lists=$PWD/.lab/apt
    mkdir -p "$lists"/lists/partial "$lists"/cache/archives/partial
    set -- -o Dir::State::lists="$lists/lists" -o Dir::Cache="$lists/cache" -o APT::Sandbox::User=
    apt-get "$@" -qq update >>"$log" 2>&1 && unpack_server "$@" && rm -rf "$lists"
}

provide_server() {
    if has_server; then return; fi
    if can_install && install_packages mariadb-server-core && has_server; then return; fi
    if have apt-get && have dpkg; then
        say "unpacking a private MariaDB server into .lab/mariadb (nothing is installed)"
        if unpack_server || unpack_server_with_own_lists; then return; fi
        tail -n 5 "$log" >&2
    fi
    die "no MariaDB server found, and none could be installed or unpacked here. Install one, then try again:" \
        "  Debian, Ubuntu:  apt-get install mariadb-server-core" \
        "  Fedora:          dnf install mariadb-server" \
        "  macOS:           brew install mariadb" \
        "It need not run: holdfast starts private servers of its own. One unpacked elsewhere: HOLDFAST_LAB_ROOT=DIR (with DIR/usr/sbin/mariadbd)."
}

provide_middleboxes() { # for the tests that need them, which are skipped where they are not there
    if ! have apt-get || ! have dpkg; then return; fi
    say "unpacking MySQL Router and HAProxy into .lab/middleboxes (nothing is installed)"
    tools/fetch-middleboxes .lab/middleboxes >"$log" 2>&1 || say "they could not be had here: $(tail -n 1 "$log")"
}

provide_browser() { # for the test of the documentation's search, which is skipped where there is none; a large package
    if have chromium || have chromium-browser || have google-chrome || [ -z "${CI:-}" ]; then return; fi
    can_install && install_packages chromium || say "no browser could be had here"
}

provide_strangers() { # for the tests of drivers that are not held, and of an old one that is
    say "putting an old mysql-connector-python aside, and building the driver mariadb"
    if [ ! -d .lab/old-mysql-connector ]; then
        "$venv/bin/python" -m pip install -qq --no-deps --target .lab/old-mysql-connector 'mysql-connector-python==8.4.0' ||
            say "it could not be had here"
    fi
    "$venv/bin/python" -m pip install -qq 'mariadb<2' >"$log" 2>&1 || say "it could not be built here: its tests are left out"
}

# ---------------------------------------------------------------------------------------------------------------------

choose_python
make_venv
if [ "$mode" = docs ]; then extras='flask,cli'; else provide_mysqlclient; fi
case $mode in
demo)
    provide_server
    install_python_packages "the drivers"
    if ! provide_uwsgi; then say "uWSGI could not be compiled here: the part about forked workers runs under gunicorn"; fi
    if [ -z "$mysqlclient_left_out" ]; then touch .venv/.ready-demo; fi # left out: look again at the next run
    ;;
test)
    provide_server
    provide_middleboxes
    provide_browser
    # SQLAlchemy 2.1 has left Python 3.10 behind
    install_python_packages "the development tools" 'SQLAlchemy>=2.1; python_version >= "3.11"' --group dev
    provide_strangers
    touch .venv/.ready-demo .venv/.ready-test
    ;;
sa20)
    install_python_packages "SQLAlchemy 2.0" 'SQLAlchemy<2.1' --group test
    touch .venv-sa20/.ready
    ;;
docs)
    install_python_packages "what the documentation is built with" --group docs
    touch .venv-docs/.ready
    ;;
esac
say "done"
