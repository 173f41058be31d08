# shellcheck shell=sh
# Sourced from the repository's top before anything that starts a server: where the lab finds MariaDB.
# tools/setup.sh unpacks a private copy into .lab/mariadb when the machine has none and there is no root.
if [ -z "${HOLDFAST_LAB_ROOT:-}" ] && [ -x .lab/mariadb/usr/sbin/mariadbd ]; then
    HOLDFAST_LAB_ROOT=$PWD/.lab/mariadb
    export HOLDFAST_LAB_ROOT
fi
