#!/usr/bin/env bash
# Every test run of `make test`, one after another; fails when one of them failed.
# CORE: the paths that also run on SQLAlchemy 2.0. ARGS: handed to each pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

read -ra core <<<"${CORE:?the paths of the core suite}"
declare -a args="(${ARGS:-})" # read as the shell does, so that ARGS="-k 'fork and not tls'" keeps its quotes
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

run "SQLAlchemy 2.1" .venv -m 'not mysql'
run "SQLAlchemy 2.0, the core" .venv-sa20 "${core[@]}" -m 'not mysql and not slow'
if [ -n "${HOLDFAST_LAB_MYSQLD:-}" ]; then
    run "Oracle's MySQL" .venv -m mysql
else
    printf "\n>> Oracle's MySQL: left out, HOLDFAST_LAB_MYSQLD is not set\n"
fi
exit $failed
