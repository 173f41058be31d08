"""``holdfast commits``: makes and prunes the table that verified units of work write into."""

from __future__ import annotations

import re
from datetime import timedelta

import click
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.transactions import create_commit_table, prune_commits

__all__ = ["commits"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@click.group()
def commits() -> None:
    """The table holdfast_commits, for sqlalchemy_holdfast.run(..., verify=True)."""


@commits.command()
@click.argument("url", envvar="DATABASE_URL")
def create(url: str) -> None:
    """Create the table in the URL's database, if it is not there. URL may be in $DATABASE_URL instead."""
    try:
        create_commit_table(_engine(url))
    except DBAPIError as error:
        raise click.ClickException("\n".join((str(error.orig), *error.detail))) from None
    click.echo("The table holdfast_commits is there.")


@commits.command()
@click.argument("url", envvar="DATABASE_URL")
@click.option(
    "--older-than", default="1d", show_default=True, metavar="AGE", help="As 90m, 12h or 7d; 2h at the least."
)
def prune(url: str, older_than: str) -> None:
    """Delete the table's old rows: for a cron job. URL may be in $DATABASE_URL instead."""
    try:
        deleted = prune_commits(_engine(url), _age(older_than))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--older-than") from None
    except DBAPIError as error:
        raise click.ClickException("\n".join((str(error.orig), *error.detail))) from None
    click.echo(f"{deleted} rows deleted.")


def _engine(url: str) -> Engine:
    try:
        return holdfast.create_engine(url, poolclass=NullPool)
    except holdfast.HoldfastError as error:
        raise click.ClickException(str(error)) from None


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not an age; write it as 90m, 12h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
