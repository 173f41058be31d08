"""The command ``holdfast`` and its subcommands; each is in a module of its own."""

from __future__ import annotations

import click

from .. import __version__
from .commits import commits
from .demo.command import demo
from .doctor.command import doctor
from .url import url

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="holdfast")
def cli() -> None:
    """MySQL and MariaDB connections that hold, for SQLAlchemy: add ?plugin=holdfast to the database URL."""


cli.add_command(commits)
cli.add_command(demo)
cli.add_command(doctor)
cli.add_command(url)
