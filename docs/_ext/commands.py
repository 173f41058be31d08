"""What the command `holdfast` says of itself, `--help` by `--help`, for the page on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from tables import Generated

from sqlalchemy_holdfast.cli.commands import cli

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

_COLUMNS = 72


class CommandReference(Generated):
    """`{holdfast-commands}`: the command and each of its subcommands, as `--help` shows them."""

    def lines(self) -> Iterator[str]:
        yield from _described(cli, _context(cli, "holdfast"))


def _described(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## `{context.command_path}`\n"
    yield "```text"
    context.terminal_width = _COLUMNS
    yield command.get_help(context)
    yield "```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _described(child, _context(child, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, parent=parent, info_name=name, **command.context_settings)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("holdfast-commands", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
