"""Data directories: made once for each server program, kept in a cache, copied for every server.

Making one takes a third of a second for MariaDB and some seconds for MySQL; copying takes hundredths.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from .._errors import ServerFailed
from ._executable import Executable

_BOOTSTRAP_SECONDS = 180.0
_ABANDONED_SECONDS = 3600.0

# Small files and no fsync: nobody needs these data after a power cut. What is committed is still written to the
# operating system at once (flush_log_at_trx_commit=2), so it survives the server's own death by SIGKILL.
_COMMON_OPTIONS = (
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=16M",
    "--skip-innodb-buffer-pool-dump-at-shutdown",
    "--skip-innodb-buffer-pool-load-at-startup",
    "--performance-schema=OFF",
    # Defaults that a distribution, a version or the next one may set otherwise: a site's test has the same result
    # on each of them.
    "--character-set-server=utf8mb4",
    "--default-storage-engine=InnoDB",
    "--transaction-isolation=REPEATABLE-READ",
    "--skip-log-bin",
)
_MARIADB_OPTIONS = (
    "--innodb-log-file-size=4M",
    "--innodb-autoextend-increment=1",
    "--innodb-temp-data-file-path=ibtmp1:1M:autoextend",
    "--loose-aria-log-file-size=8M",
)
_MYSQL_OPTIONS = (
    "--loose-innodb-redo-log-capacity=8M",  # 8.0.30
    "--loose-mysqlx=OFF",
    # Made in the data directory at the first start otherwise, and used from then on without having been asked for.
    "--auto-generate-certs=OFF",
)

# Everything that a program's account needs, and nothing that lifts limits (SUPER, CONNECTION ADMIN,
# READ_ONLY ADMIN): an application is not above max_connections, and neither is this account.
_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE TEMPORARY TABLES, LOCK TABLES, "
    "CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, EVENT, TRIGGER, SHOW DATABASES, PROCESS, RELOAD"
)
_ACCOUNT = (
    "CREATE DATABASE test CHARACTER SET utf8mb4;",
    "CREATE USER 'app'@'%' IDENTIFIED BY 'app';",
)
_MARIADB_START = ("CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket=NULL;")
_MARIADB_END = (
    # root without a password is for the socket only, which lies in a directory that only its owner may enter.
    "DELETE FROM mysql.global_priv WHERE NOT (User = 'root' AND Host = 'localhost') AND User <> 'mariadb.sys';",
    "FLUSH PRIVILEGES;",
    *_ACCOUNT,
    f"GRANT {_PRIVILEGES} ON *.* TO 'app'@'%';",
)
_MYSQL_END = (
    *_ACCOUNT,
    f"GRANT {_PRIVILEGES} ON *.* TO 'app'@'%';",
    "GRANT XA_RECOVER_ADMIN ON *.* TO 'app'@'%';",
)


def server_options(executable: Executable) -> list[str]:
    """Return the options that every server of this program gets, before the caller's own."""
    options = [*_COMMON_OPTIONS, *(_MARIADB_OPTIONS if executable.flavour == "mariadb" else _MYSQL_OPTIONS)]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--user=root")  # both refuse to run as root unless told so
    return options


def copy_template(executable: Executable, target: Path) -> None:
    """Make `target` a fresh data directory with the database `test` and the account app."""
    cache = _cache_directory()
    template = cache / _key(executable)
    if not template.is_dir():
        _make(executable, template)
    shutil.copytree(template, target, symlinks=True)
    target.chmod(0o700)


def _key(executable: Executable) -> str:
    real = executable.path.resolve()
    status = real.stat()
    recipe = (_COMMON_OPTIONS, _MARIADB_OPTIONS, _MYSQL_OPTIONS, _MARIADB_START, _MARIADB_END, _MYSQL_END)
    identity = (str(real), status.st_mtime_ns, status.st_size, executable.options, recipe)
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    return f"{executable.flavour}-{executable.version}-{digest}"


def _cache_directory() -> Path:
    """Return a directory that belongs to this user alone: under the home directory, or else under the temporary one."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    user = os.getuid() if hasattr(os, "getuid") else 0
    refused = []
    for directory in (Path(home, "holdfast-lab"), Path(tempfile.gettempdir(), f"holdfast-lab-cache-{user}")):
        if not directory.is_absolute():
            continue
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            try:
                directory.mkdir(0o700)
            except FileExistsError:
                pass
            # In a shared temporary directory somebody else may have been first, or may have left a symbolic link.
            status = directory.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022:
                raise PermissionError("not a directory that only this user can write to")
            if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError("not writable")
        except OSError as error:
            refused.append(f"{directory}: {error}")
        else:
            return directory
    raise ServerFailed("no directory to keep server templates in: " + "; ".join(refused))


def _make(executable: Executable, template: Path) -> None:
    """Make a data directory next to `template` and rename it, so that others see all of it or nothing."""
    _sweep(template.parent)
    work = template.parent / f".making-{secrets.token_hex(8)}"
    work.mkdir(0o700)
    try:
        data = work / "data"
        data.mkdir(0o700)
        command = [
            *executable.command(), *server_options(executable), f"--datadir={data}", f"--tmpdir={work}",
        ]  # fmt: skip
        if executable.flavour == "mariadb":
            _run([*command, "--bootstrap"], executable, _mariadb_statements(executable))
        else:
            script = work / "init.sql"
            script.write_text("\n".join(_MYSQL_END) + "\n", encoding="utf-8")
            _run([*command, "--initialize-insecure", f"--init-file={script}"], executable, b"")
        # The server's identity must not be the same in every copy; it makes a new one.
        (data / "auto.cnf").unlink(missing_ok=True)
        try:
            data.rename(template)
        except OSError:
            if not template.is_dir():  # else another process was faster, and its template is as good
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Remove what processes that were killed while making a template left behind."""
    for work in cache.glob(".making-*"):
        try:
            if time.time() - work.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(work, ignore_errors=True)
        except OSError:
            pass


def _run(command: list[str], executable: Executable, statements: bytes) -> None:
    try:
        done = subprocess.run(
            command,
            input=statements,
            env=executable.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BOOTSTRAP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{executable.path} did not make a data directory in {_BOOTSTRAP_SECONDS:g} s") from error
    if done.returncode:
        words = "\n".join(done.stdout.decode(errors="replace").splitlines()[-30:])
        code = done.returncode
        raise ServerFailed(
            f"{executable.path} could not make a data directory (exit status {code}). Its last words:\n{words}"
        )


def _mariadb_statements(executable: Executable) -> bytes:
    """Return what mariadb-install-db would run, without the time zones, the help texts and the sys schema."""
    folder = _share_directory(executable)
    parts = ["\n".join(_MARIADB_START).encode()]
    for stem in ("system_tables", "performance_tables", "system_tables_data"):
        parts.append(_sql_file(folder, stem).read_bytes())
    parts.append("\n".join(_MARIADB_END).encode())
    return b"\n".join(parts) + b"\n"


def _sql_file(folder: Path, stem: str) -> Path:
    for prefix in ("mariadb", "mysql"):  # renamed in 11.x
        path = folder / f"{prefix}_{stem}.sql"
        if path.is_file():
            return path
    raise ServerFailed(f"{folder} has no file *_{stem}.sql: is the server's package installed whole?")


def _share_directory(executable: Executable) -> Path:
    """Return where the program's SQL scripts are."""
    prefixes = {executable.path.parent.parent, executable.path.resolve().parent.parent}
    tried = []
    for prefix in sorted(prefixes):
        for name in ("share/mariadb", "share/mysql", "share", "scripts"):
            folder = prefix / name
            if any((folder / f"{kind}_system_tables.sql").is_file() for kind in ("mariadb", "mysql")):
                return folder
            tried.append(str(folder))
    raise ServerFailed(f"the SQL scripts that belong to {executable.path} are in none of: {', '.join(tried)}")
