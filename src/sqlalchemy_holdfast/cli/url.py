"""``holdfast url``: builds a database URL, checks one, and tries it."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import click
from click.core import ParameterSource
from rich.console import Console
from rich.text import Text
from sqlalchemy.engine import URL, make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import urls
from sqlalchemy_holdfast.urls import providers
from sqlalchemy_holdfast.urls.trying import attempt

from .tables import Cell, Table, make_console, show

__all__ = ["url"]

_STDIN = "-"
_WRONG, _NOTE = ("wrong:", "bold red"), ("note:", "yellow")


@click.command(context_settings={"allow_extra_args": True})  # so that a URL given in the wrong place is not repeated
@click.option("-u", "--username", help="The database account.")
@click.option(
    "--password-file",
    type=click.File(),
    metavar="FILE",
    help="Read the password from the first line of FILE; - is the standard input. Else it is asked for.",
)
@click.option("--host", help="Host name, address or path of the socket.  [default: localhost, or what --at says]")
@click.option("-d", "--database", help="The database; with --at pythonanywhere, name means username$name.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port.  [default: the server's own, 3306]")
@click.option("--driver", help="mysqldb, pymysql or mysqlconnector.  [default: the first that is installed]")
@click.option("--at", metavar="PROVIDER", help="A provider whose host and database names are known: see --hosts.")
@click.option("--my-cnf", type=click.Path(dir_okay=False), metavar="FILE", help="Take the parts from an option file.")
@click.option("--group", default="client", show_default=True, help="The option file's group.")
@click.option("--environ", is_flag=True, help="Take the parts from DATABASE_URL, MYSQL_HOST, MYSQL_USER ...")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="More for the URL's query; may be repeated.")
@click.option(
    "--check",
    "checked",
    is_flag=False,
    flag_value=_STDIN,
    metavar="[URL]",
    help="Say what is wrong with a URL. Without one it is read from the standard input, out of the shell's history.",
)
@click.option("--connect", is_flag=True, help="Try the URL, and explain the error if there is one.")
@click.option("--hosts", "show_hosts", is_flag=True, help="List the known providers, and where the facts are from.")
@click.pass_context
def url(
    context: click.Context,
    /,
    *,
    password_file: TextIO | None,
    pairs: tuple[str, ...],
    checked: str | None,
    connect: bool,
    show_hosts: bool,
    environ: bool,
    my_cnf: str | None,
    **parts: Any,
) -> None:
    """Build a database URL for SQLAlchemy, or check one.

    Asks for what is not given, unless --my-cnf or --environ says where it is. The URL, which holds the password, goes
    to the standard output, everything else to the standard error.

    The exit status is 0 when nothing is wrong (there may be notes: what may be meant, and often is not), 1 when
    something is wrong, and 2 when the command itself was used wrongly.
    """
    say = Console(stderr=True, highlight=False, soft_wrap=True)
    if context.args:
        raise click.UsageError("A URL to be checked goes right behind --check: holdfast url --check URL --connect.")
    if show_hosts:
        _list_hosts()
        return
    if checked is not None:
        _refuse_parts(context)
        built = _read_url() if checked == _STDIN else checked
    else:
        if password_file is not None:
            parts["password"] = password_file.readline().rstrip("\r\n")
        elif not environ and my_cnf is None:
            _ask(parts)
        built = _build(parts, pairs, my_cnf=my_cnf, environ=os.environ if environ else None)
        click.echo(built)
    good, notes = _report(say, built)
    if good and checked is not None:
        _tell(say, make_url(built), notes, untried=not connect)
    if connect and good:
        good = _try(say, make_url(built))
    elif connect:
        say.print("It was not tried: correct it first.")
    raise SystemExit(0 if good else 1)


def _refuse_parts(context: click.Context) -> None:
    """End the command when --check stands beside an option that only building a URL uses."""
    used = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name not in ("checked", "connect", "show_hosts")
        and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if used:
        raise click.UsageError(f"--check reads a whole URL, and has no use for {', '.join(used)}.")


def _read_url() -> str:
    """Read a URL from the standard input; from a terminal without showing it."""
    if sys.stdin.isatty():
        return str(click.prompt("URL (not shown)", hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _ask(parts: dict[str, Any]) -> None:
    known = _known(parts["at"])
    if parts["username"] is None:
        parts["username"] = click.prompt("User name", err=True)
    if parts["host"] is None and (known is None or "{username}" not in known.template):
        parts["host"] = click.prompt("Host", default="localhost" if known is None else None, err=True)
    if parts["database"] is None:
        parts["database"] = click.prompt("Database", default="", show_default=False, err=True) or None
    asked = click.prompt("Password (not shown)", default="", show_default=False, hide_input=True, err=True)
    parts["password"] = asked or None


def _known(at: str | None) -> providers.Provider | None:
    """Return the provider, if one was named; a wrong name ends the command before anything is asked."""
    try:
        return None if at is None else providers.by_name(at)
    except holdfast.DatabaseURLError as error:
        raise click.UsageError(str(error)) from None


def _build(parts: dict[str, Any], pairs: tuple[str, ...], **sources: Any) -> str:
    query: dict[str, str] = {}
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter("write it as KEY=VALUE", param_hint="--set")
        (settings if key.startswith("holdfast_") else query)[key] = value
    try:
        return holdfast.url(**parts, **sources, query=query, **settings)
    except holdfast.HoldfastError as error:
        raise click.UsageError(str(error)) from None


def _report(say: Console, given: str) -> tuple[bool, int]:
    """Show what is wrong and what could be better; return whether nothing is wrong, and how many notes there are."""
    found = urls.examine(given)
    for finding in found:
        _mark(say, _WRONG if finding.wrong else _NOTE, finding.text)
    wrong = sum(finding.wrong for finding in found)
    return not wrong, len(found) - wrong


def _tell(say: Console, given: URL, notes: int, *, untried: bool) -> None:
    """Say what a check without a mistake means, and what it does not."""
    if urls.is_ours(given):
        words = "Nothing is wrong with the way the URL is written."
        if notes:
            words = f"No certain mistake, and {notes} note{'s' * (notes > 1)}: see above."
    else:
        words = (
            f"A {given.get_backend_name()} URL: holdfast holds MySQL and MariaDB connections, and steps aside for "
            "this one."
        )
    say.print(words + (" It was not tried: --connect does that." if untried else ""))
    known = providers.by_address(given.host)
    if known is not None and known.idle_limit_seconds is not None:
        source = known.sources["idle_limit_seconds"].address
        say.print(
            f"{known.title} closes a connection that is idle for {known.idle_limit_seconds:g} s ({source}). With "
            "plugin=holdfast no pool_recycle is needed for that."
        )


def _try(say: Console, given: URL) -> bool:
    """Connect once, and show who answered or what the error means."""
    tried = attempt(given, holdfast.create_engine)
    if tried.problem:
        _mark(say, _WRONG, tried.problem)
        for line in tried.hints:
            say.print(Text(line))
        return False
    server = tried.server
    if server is None:
        say.print("Connected.")
        return True
    database = f"database {server.database}" if server.database else "no database"
    say.print(
        Text.assemble(
            ("Connected", "bold green"),
            f" to {server.version} as {server.account}, {database}; the server closes a connection that is idle for "
            f"{server.idle_limit_seconds} s.",
        )
    )
    return True


def _mark(say: Console, mark: tuple[str, str], words: str) -> None:
    say.print(Text.assemble(mark, " ", words))


def _list_hosts() -> None:
    console = make_console()
    table = Table("Providers for --at", ("name", "host or socket", "port", "databases", "idle limit", "TLS"), labels=6)
    for known in providers.PROVIDERS:
        table.add(
            Cell(known.name),
            known.template or f"…{known.suffix}",
            str(known.port or 3306) if not known.template.startswith("/") else "",
            "username$name" if known.prefixes_databases else "",
            f"{known.idle_limit_seconds:g} s" if known.idle_limit_seconds else "",
            "needed" if known.needs_tls else "",
        )
    show(console, table)
    for known in providers.PROVIDERS:
        click.echo(f"\n{known.title}")
        for source in dict.fromkeys(known.sources.values()):
            click.echo(f"  {source.title}\n    {source.address}")
