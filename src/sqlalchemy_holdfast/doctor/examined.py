"""Everything that the checks look at, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy.engine import URL

from ..settings import Settings
from ..urls import Finding
from .application.facts import ApplicationFacts
from .facts import ConnectFacts, ConnectProblem, Hosting, PoolFacts
from .server_facts import ServerFacts

__all__ = ["Examined"]


@dataclass(frozen=True)
class Examined:
    """What was gathered before the checks run. No part of it has a password in it."""

    url: URL | None = None
    """The database URL without its password; ``None`` where only an application is examined, or it is no URL."""
    url_findings: tuple[Finding, ...] = ()
    """What ``urls.examine`` says of the whole URL."""
    settings: Settings = field(default_factory=Settings)
    """holdfast's settings for the engine."""
    pool: PoolFacts | None = None
    """The engine's pool; ``None`` where there is no engine."""
    connect: ConnectFacts | None = None
    """How the connection was made; ``None`` where there is none."""
    problem: ConnectProblem | None = None
    """Why there is no connection; ``None`` where there is one, or none was tried."""
    server: ServerFacts | None = None
    """What the server answered; ``None`` where there is no connection."""
    application: ApplicationFacts | None = None
    """What was seen of the application; ``None`` where none was watched."""
    hosting: Hosting = field(default_factory=Hosting)
    """How the site runs, as its owner said."""

    def has(self, need: str) -> bool:
        """Whether something that a check may need is there."""
        if need == "url":
            return self.url is not None or bool(self.url_findings)
        if need == "server":
            return self.server is not None
        return self.application is not None
