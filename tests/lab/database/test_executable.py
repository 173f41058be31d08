"""Which program a Server runs, and that its own defaults do not decide a test's result."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server, ServerNotFound
from sqlalchemy_holdfast.lab.database import _bootstrap, _executable


def test_a_program_that_does_not_exist_is_named() -> None:
    with pytest.raises(ServerNotFound, match="/nowhere/mariadbd"):
        Server(executable="/nowhere/mariadbd")


def test_a_program_that_is_no_server_is_named() -> None:
    with pytest.raises(ServerNotFound, match="true"):
        Server(executable="true")


def test_without_any_program_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOLDFAST_LAB_MARIADBD", "HOLDFAST_LAB_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(_executable, "_FOLDERS", ())
    with pytest.raises(ServerNotFound) as caught:
        Server()
    for word in ("apt install", "dnf install", "brew install", "HOLDFAST_LAB_MARIADBD", "HOLDFAST_LAB_ROOT"):
        assert word in str(caught.value)


@pytest.mark.slow
def test_an_unpacked_tree_runs_from_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    installed = server._executable.path
    if installed != Path("/usr/sbin/mariadbd"):
        pytest.skip("needs Debian's layout to take a tree from")
    for part in ("usr/sbin/mariadbd", "usr/share/mysql", "usr/share/mariadb"):  # the last is 11.x's
        if Path("/", part).exists():
            (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / part).symlink_to(Path("/", part))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(_executable, "_FOLDERS", ())
    monkeypatch.delenv("HOLDFAST_LAB_MARIADBD", raising=False)
    monkeypatch.setenv("HOLDFAST_LAB_ROOT", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # its template is of no use to anybody else
    with Server() as other:
        assert str(tmp_path / "usr") in str(other.execute("SELECT @@basedir"))


ODD_DEFAULTS = (
    *("--default-storage-engine=Aria", "--transaction-isolation=READ-COMMITTED", "--character-set-server=latin1"),
    *("--log-bin=odd", "--server-id=7", "--secure-file-priv={directory}"),
)


@pytest.mark.slow
def test_what_decides_a_tests_result_is_the_same_with_every_servers_own_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    """A program in front of the server stands for one that was compiled with other defaults."""
    installed = server._executable
    (tmp_path / "share").mkdir()
    (tmp_path / "share/mysql").symlink_to(_bootstrap._share_directory(installed))
    defaults = shlex.join([*installed.options, *(option.format(directory=tmp_path) for option in ODD_DEFAULTS)])
    program = tmp_path / "sbin/mariadbd"
    program.parent.mkdir()
    path = shlex.quote(str(installed.path))
    program.write_text(
        f'#!/bin/sh\nfirst=$1\nshift\ncase " $*" in *" --datadir="*) set -- {defaults} "$@" ;; esac\n'
        f'LD_LIBRARY_PATH={shlex.quote(installed.library_path or "")} exec {path} "$first" "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Server(executable=program) as odd:
        variables = "@@default_storage_engine, @@character_set_server, @@log_bin, @@tx_isolation, @@server_id"
        assert odd.execute(f"SELECT {variables}") == [("InnoDB", "utf8mb4", 0, "REPEATABLE-READ", 7)]
