"""``flask holdfast``: what Flask's own command gets from holdfast.

Flask imports this module at every ``flask`` command, and a module that cannot be imported would end each of them. So it
needs click alone, which Flask brings; the rest is imported when ``flask holdfast`` is asked for.
"""

from __future__ import annotations

import importlib

import click

__all__ = ["holdfast"]

_COMMANDS = {"doctor": "doctor.flask_command"}


class _Later(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f".{_COMMANDS[name]}", __package__), name)
        return command


@click.group(cls=_Later)
def holdfast() -> None:
    """Look after the application's connections to MySQL and MariaDB."""
