"""holdfast.url reads option files as MariaDB's own programs read them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.urls import option_files
from tests.urls.helpers import SECRET, option_file, refused

VALUES = [
    "plain",
    "  spaced  ",
    '"  kept  "',
    "'single'",
    r'"with \"quotes\""',
    r"'it\'s'",
    r"tab\tnew\nspace\sback\\slash",
    r"unknown\qescape",
    '"has # inside"',
    "before # comment",
    "before#comment",
    '"unclosed',
    r'"escaped\"# quote"',
    r"plain\"# quote",
    "a=b=c",
    "",
    r"C:\\Users",
    r"'#' # and '#'",
    "semi;colon",
    "p@s:s/w%41rd",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_read_as_mariadb_reads_it(server: Server, tmp_path: Path, value: str) -> None:
    """The server's own parser prints what it read, with a blank behind it."""
    file = option_file(tmp_path, f"[mysqld]\nuser = {value}\n")
    executable = server._executable
    done = subprocess.run(
        [str(executable.path), f"--defaults-file={file}", "--print-defaults"],
        env=executable.environment(),
        capture_output=True,
        timeout=60,
    )
    _, mark, theirs = done.stdout.decode().partition("\n--user=")
    assert mark, done
    assert option_files._option_groups(file)["mysqld"]["user"] == theirs.removesuffix("\n").removesuffix(" ")


def test_an_option_file_with_groups(tmp_path: Path) -> None:
    file = option_file(
        tmp_path,
        '\ufeff# mine\n; and this\n[client]\nuser = me\npassword = "p#1 \\"x\\""\nhost=db.example.org\n'
        "loose-port=3307\nssl-ca=/ca.pem\nskip-ssl\n\n[shop]\ndatabase=shop\nuser=shopper\n",
    )
    client, shop = make_url(holdfast.url(my_cnf=file)), make_url(holdfast.url(my_cnf=str(file), group="shop"))
    assert (client.username, client.password, client.host, client.port) == ("me", 'p#1 "x"', "db.example.org", 3307)
    assert client.query["ssl_ca"] == "/ca.pem"
    assert client.database is None
    assert (shop.username, shop.password, shop.database) == ("shopper", 'p#1 "x"', "shop")


@pytest.mark.parametrize(("host", "socket"), [("", "/s"), ("host=localhost\n", "/s"), ("host=db\n", None)])
def test_a_socket_counts_where_the_client_would_use_it(tmp_path: Path, host: str, socket: str | None) -> None:
    file = option_file(tmp_path, f"[client]\nuser=me\n{host}socket=/s\n")
    assert make_url(holdfast.url(my_cnf=file)).query.get("unix_socket") == socket


def test_the_home_directory_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    option_file(tmp_path, "[client]\nuser=me\n")
    assert make_url(holdfast.url(my_cnf="~/my.cnf")).username == "me"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (f"[client]\npassword={SECRET}\n", "[client] in {file} has no user"),
        (f"[mysql]\npassword={SECRET}\n[dump]\n", "{file} has no group [client]. It has [mysql], [dump]."),
        ("", "has no group [client]. It has no groups at all."),
        (f"[client]\npassword={SECRET}\n!includedir /etc/mysql/conf.d\n", "Line 3 of the option file {file} includes"),
        (f"password={SECRET}\n", "Line 1 of the option file {file} stands before the first group"),
        (f"[client\npassword={SECRET}\n", "Line 1 of the option file {file} opens a group"),
        (f"[client]\nuser=me\nport={SECRET}\n", "The port is not a number"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    file = option_file(tmp_path, content)
    assert sentence.format(file=file) in refused(my_cnf=file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: no such file or directory" in refused(my_cnf=tmp_path / "none")
    assert "cannot be read: is a directory" in refused(my_cnf=tmp_path)
    (tmp_path / "latin").write_bytes(f"[client]\npassword={SECRET}\xfc".encode("latin-1"))
    assert "cannot be read: it is not UTF-8" in refused(my_cnf=tmp_path / "latin")
