"""The picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from .section import Bars

__all__ = ["draw"]

mpl.use("Agg")

_COLOURS = {"stock": "#9aa5b1", "pool_pre_ping": "#c9a66b", "NullPool": "#d8d8d8", "holdfast": "#1b7f5c"}
_OTHER = "#5b6ee1"
_HIGHEST = {"waits per unit of work": 6.0}
"""Where a panel is cut off; what is higher has its value written on it."""


def draw(panels: Sequence[Bars], caption: str, path: Path) -> None:
    """Draw one panel for each group of bars, those of the same unit in a row."""
    from matplotlib import pyplot

    rows: dict[str, list[Bars]] = {}
    for bars in panels:
        rows.setdefault(bars.unit, []).append(bars)
    across = max(len(row) for row in rows.values())
    figure = pyplot.figure(figsize=(5.2 * across, 4.0 * len(rows) + 0.6), layout="constrained")
    strips = figure.subfigures(len(rows), 1, squeeze=False)
    for strip, row in zip(strips.flat, rows.values(), strict=True):
        for axis, bars in zip(strip.subplots(1, len(row), squeeze=False).flat, row, strict=True):
            _panel(axis, bars)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=11)
    figure.supxlabel(caption, fontsize=8, color="#555555")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _panel(axis: Any, bars: Bars) -> None:
    labels = list(bars.values)
    names = list(dict.fromkeys(name for values in bars.values.values() for name in values))
    width = 0.84 / len(names)
    top = _HIGHEST.get(bars.unit)
    for number, name in enumerate(names):
        places = [place - 0.42 + (number + 0.5) * width for place in range(len(labels))]
        heights = [bars.values[label].get(name, 0.0) for label in labels]
        axis.bar(places, heights, width * 0.94, label=name, color=_COLOURS.get(name, _OTHER))
        for place, height in zip(places, heights, strict=True):
            shown = min(height, top) if top else height
            axis.text(place, shown, f"{height:.1f}", ha="center", va="bottom", fontsize=6.5, color="#333333")
    if top:
        axis.set_ylim(0, top * 1.06)
    axis.set_xticks(range(len(labels)), labels, fontsize=7 if len(labels) < 6 else 6)
    axis.set_title(bars.title, fontsize=11, loc="left")
    axis.set_ylabel(bars.unit, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
