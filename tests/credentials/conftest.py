"""An account whose password changes, and what is told of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory


class Account:
    """An account of its own on a server. A password of its has letters that no other text here has."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = f"u{secrets.token_hex(6)}"
        self.password = ""
        self.given: list[str] = []
        """Every password that it, or its source, has had."""

    def new_password(self) -> str:
        self.given.append(f"zyxwvq{secrets.token_hex(8)}")
        return self.given[-1]

    def change(self, password: str | None = None) -> str:
        """Change it on the server, and return the new one."""
        self.password = password or self.new_password()
        self.server.execute(f"ALTER USER {self.name} IDENTIFIED BY %s", (self.password,))
        return self.password

    def refused(self) -> int:
        """How many logins the server has refused so far, of anybody."""
        return int(self.server.status("Access_denied_errors"))

    def shows(self, *words: object) -> bool:
        """Whether one of its passwords is in a text."""
        return any(password in str(text) for password in self.given for text in words)


def account_on(server: Server) -> Iterator[Account]:
    account = Account(server)
    account.password = account.new_password()
    server.create_account(account.name, account.password, databases=("test",))
    yield account
    server.kill_connections(account.name)
    server.execute(f"DROP USER {account.name}")


@pytest.fixture
def account(server: Server) -> Iterator[Account]:
    yield from account_on(server)


Make = Callable[..., Engine]


@pytest.fixture
def logs_in(held: EngineFactory, account: Account) -> Make:
    """Makes engines for the account, which get its password from where the settings say."""

    def make(driver: str = "pymysql", **options: Any) -> Engine:
        return held(account.server.url(driver, user=account.name, password=""), **options)

    return make


@pytest.fixture
def secret(tmp_path: Path, account: Account) -> Path:
    """A file with the account's password, as an editor or `echo` writes it."""
    path = tmp_path / "secret"
    path.write_text(account.password + "\n")
    return path


def events(engine: Engine) -> list[str]:
    """What happens to an engine from now on, by name."""
    found: list[str] = []
    holdfast.status(engine).listen(lambda event: found.append(event.name))
    return found
