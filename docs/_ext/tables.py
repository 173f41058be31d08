"""What is made from the code when the documentation is built: the settings, and the errors that are known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from sqlalchemy_holdfast import SETTINGS, Setting
from sqlalchemy_holdfast.server.error_table import RULES, Effect

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["Generated", "setup"]


class Generated(SphinxDirective):
    """A directive that stands for the Markdown that it makes."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)

    def lines(self) -> Iterator[str]:
        raise NotImplementedError


class SettingsOverview(Generated):
    """`{holdfast-settings-overview}`: a line for each setting, with the first sentence about it."""

    def lines(self) -> Iterator[str]:
        yield "| setting | default | in short |"
        yield "|---|---|---|"
        for setting in SETTINGS:
            short = first_sentence(setting.consequence)
            yield f"| [`{setting.key}`](#{setting.key}) | {default_of(setting)} | {short} |"


class SettingsReference(Generated):
    """`{holdfast-settings}`: every setting under a heading of its own, in the order of the code."""

    def lines(self) -> Iterator[str]:
        for setting in SETTINGS:
            yield f"({setting.key})="
            yield f"## `{setting.key}`"
            yield f"\n{setting.consequence}\n"
            yield f"Default: {default_of(setting)}. Accepts {setting.accepts}.\n"


def first_sentence(text: str) -> str:
    return re.split(r"(?<=[.]) (?=[A-Z])", text, maxsplit=1)[0]


def default_of(setting: Setting) -> str:
    if isinstance(setting.default, bool):
        return str(setting.default).lower()
    if setting.default is None or isinstance(setting.default, str):
        return setting.default or setting.none_means
    return f"{setting.default:g} {setting.unit}"


class FaultsReference(Generated):
    """`{holdfast-faults}`: the errors that say something about a connection, in the order of the code."""

    def lines(self) -> Iterator[str]:
        done = {Effect.LOST: "discarded", Effect.EVICT: "replaced when it is returned"}
        yield "| number | what happened | the connection is | where it was seen |"
        yield "|---|---|---|---|"
        for row in RULES:
            if row.effect is None:
                continue
            number = "any" if row.number is None else row.number
            yield f"| {number} | {row.meaning} | {done[row.effect]} | {row.source} |"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("holdfast-settings-overview", SettingsOverview)
    app.add_directive("holdfast-settings", SettingsReference)
    app.add_directive("holdfast-faults", FaultsReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
