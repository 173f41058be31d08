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
    """Draw one panel for each group of bars, three in a row."""
    from matplotlib import pyplot

    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure, axes = pyplot.subplots(down, across, figsize=(5.6 * across, 4.2 * down), squeeze=False)
    for axis, bars in zip(axes.flat, panels, strict=False):
        _panel(axis, bars)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False, fontsize=11)
    figure.text(0.5, 0.005, caption, ha="center", fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 0.95))
    figure.savefig(path, dpi=110, metadata={"Software": None})
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
    axis.set_xticks(range(len(labels)), labels, fontsize=8)
    axis.set_title(bars.title, fontsize=11, loc="left")
    axis.set_ylabel(bars.unit, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
