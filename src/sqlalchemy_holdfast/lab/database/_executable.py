"""Which server program to run, and what it is."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .._errors import ServerNotFound

Flavour = Literal["mariadb", "mysql"]

_NAMES = ("mariadbd", "mysqld")
# Distributions keep the server out of an ordinary user's PATH; the last ones are Homebrew's and Oracle's on macOS.
_FOLDERS = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/libexec",
    "/usr/bin",
    "/usr/local/bin",
    "/opt/homebrew/opt/mariadb/bin",
    "/usr/local/opt/mariadb/bin",
    "/opt/homebrew/opt/mysql/bin",
    "/usr/local/opt/mysql/bin",
    "/usr/local/mysql/bin",
)
_HELP = """\
Install one; it need not run as a service:
  Debian, Ubuntu   apt install mariadb-server-core
  Fedora           dnf install mariadb-server
  macOS            brew install mariadb
or name a program with HOLDFAST_LAB_MARIADBD or HOLDFAST_LAB_MYSQLD, or with HOLDFAST_LAB_ROOT a folder into which
Debian's mariadb-server-core and its libraries were unpacked (dpkg -x)."""


@dataclass(frozen=True)
class Executable:
    """A server program."""

    path: Path
    flavour: Flavour
    version: str
    """Digits and dots only, such as "10.11.6"."""
    options: tuple[str, ...] = ()
    """What it needs on its command line to find its own files."""
    library_path: str | None = None
    """What it needs in LD_LIBRARY_PATH."""

    def environment(self) -> dict[str, str]:
        """Return the environment to run it in: this process's, without what would lead it to other files."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MYSQL", "MARIADB"))}
        if self.library_path is not None:
            env["LD_LIBRARY_PATH"] = self.library_path
        return env

    def command(self) -> list[str]:
        """Return the beginning of every command line: the program, no option files, where its own files are."""
        return [str(self.path), "--no-defaults", *self.options]


def find(executable: str | os.PathLike[str] | None = None) -> Executable:
    """Return the server program to run.

    `executable` if given, else $HOLDFAST_LAB_MYSQLD, else $HOLDFAST_LAB_MARIADBD, else `mariadbd` or `mysqld` on the
    PATH or where distributions put them, else the one in the tree that $HOLDFAST_LAB_ROOT names.

    Raises `ServerNotFound`, also when a program that was named does not exist or does not run.
    """
    if executable is not None:
        return _named(os.fspath(executable), "executable=")
    for variable in ("HOLDFAST_LAB_MYSQLD", "HOLDFAST_LAB_MARIADBD"):
        if value := os.environ.get(variable):
            return _named(value, f"${variable}")
    for name in _NAMES:
        if found := shutil.which(name) or shutil.which(name, path=os.pathsep.join(_FOLDERS)):
            return _identify(Path(found))
    if root := os.environ.get("HOLDFAST_LAB_ROOT"):
        return _unpacked(Path(root).absolute())
    raise ServerNotFound(f"no MariaDB or MySQL server program was found.\n{_HELP}")


def _named(value: str, origin: str) -> Executable:
    found = shutil.which(value)
    if found is None:
        raise ServerNotFound(f"{origin} names {value!r}, which is not a program that can be run.\n{_HELP}")
    return _identify(Path(found).absolute())


def _unpacked(root: Path) -> Executable:
    path = root / "usr/sbin/mariadbd"
    if not path.is_file():
        raise ServerNotFound(
            f"$HOLDFAST_LAB_ROOT names {str(root)!r}, but there is no usr/sbin/mariadbd in it.\n{_HELP}"
        )
    folders = [str(folder) for part in ("usr/lib", "lib") for folder in sorted((root / part).glob("*-linux-*"))]
    options = (f"--basedir={root / 'usr'}", f"--lc-messages-dir={root / 'usr/share/mysql'}")
    return _identify(path, options, ":".join([*folders, str(root / "usr/lib")]))


def _identify(path: Path, options: tuple[str, ...] = (), library_path: str | None = None) -> Executable:
    stat = path.stat()
    return _ask_version(path, options, library_path, (stat.st_mtime_ns, stat.st_size))


@functools.cache
def _ask_version(path: Path, options: tuple[str, ...], library_path: str | None, _stat: tuple[int, int]) -> Executable:
    """Run `--version`; remembered for as long as the file is the same one."""
    draft = Executable(path, "mysql", "", options, library_path)
    try:
        # --version is not accepted next to the other options by every version, and needs none of them.
        done = subprocess.run(
            [str(path), "--no-defaults", "--version"],
            env=draft.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerNotFound(f"{path} does not run: {error}") from error
    version = re.search(r"\bVer\s+(\d+(?:\.\d+)+)", done.stdout)
    if done.returncode or version is None:
        words = (done.stderr + done.stdout).strip()
        raise ServerNotFound(f"{path} --version says nothing of a MariaDB or MySQL server: {words!r}")
    flavour: Flavour = "mariadb" if "mariadb" in done.stdout.lower() else "mysql"
    return Executable(path, flavour, version[1], options, library_path)
