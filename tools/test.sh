#!/usr/bin/env bash
# Every test run of `make test`, one after another; fails when one of them failed.
# CORE: the paths that also run on SQLAlchemy 2.0. ARGS: handed to each pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

read -ra core <<<"${CORE:?the paths of the core suite}"
declare -a args="(${ARGS:-})" # read as the shell does, so that ARGS="-k 'fork and not tls'" keeps its quotes
mysqld=${HOLDFAST_LAB_MYSQLD:-}
unset HOLDFAST_LAB_MYSQLD # it is for the last run alone
failed=0

run() { # run TITLE ENVIRONMENT PYTEST-ARGUMENT...
    local title=$1 python=$2/bin/python status=0
    shift 2
    printf '\n>> %s\n' "$title"
    "$python" -m pytest "$@" ${args[@]+"${args[@]}"} || status=$?
    # "No test collected" is a failure, unless ARGS chose tests that this run does not have.
    if [ $status = 5 ] && [ ${#args[@]} -gt 0 ]; then status=0; fi
    if [ $status != 0 ]; then failed=1; fi
}

sqlalchemy() { "$1/bin/python" -c 'from importlib.metadata import version; print("SQLAlchemy", version("SQLAlchemy"))'; }

newest=$(sqlalchemy .venv) second=$(sqlalchemy .venv-sa20)
if [ -z "$mysqld" ]; then echo "Oracle's MySQL is left out: HOLDFAST_LAB_MYSQLD is not set"; fi
if [ "$newest" = "$second" ]; then echo "$newest is the newest for this Python: one run instead of two"; fi

# In four processes, because most tests wait for servers; but for what measures how long something takes.
measuring=(tests/pool/test_round_trips.py tests/pool/test_silent_peers.py tests/cli/test_demo.py)
run "$newest" .venv -m 'not mysql' -n 4 --dist worksteal ${measuring[@]/#/--ignore=}
run "$newest, what measures time" .venv -m 'not mysql' "${measuring[@]}"
if [ "$newest" != "$second" ]; then
    run "$second, the core" .venv-sa20 "${core[@]}" -m 'not mysql and not slow' -n 4 --dist worksteal
fi
if [ -n "$mysqld" ]; then
    export HOLDFAST_LAB_MYSQLD=$mysqld
    run "$newest, Oracle's MySQL" .venv -m mysql -n 3 --dist worksteal
fi
exit $failed
