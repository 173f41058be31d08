"""Pictures as SVG text: bars side by side, and a table of before and after.

They are 380 units wide, so that their text can be read on a phone, and they bring their own background, so that they
can be read on a dark page as well. Nothing is needed to draw them but Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["WIDTH", "Comparison", "bars", "before_and_after"]

WIDTH = 380
"""Width of every picture in its own units: about the width of a phone's screen in CSS pixels."""

_COLOURS = {"stock": "#6b7280", "pool_pre_ping": "#c08a2d", "NullPool": "#a8b0ba", "holdfast": "#15803d"}
_OTHER = "#5b6ee1"
_INK, _FAINT, _BAD = "#1f2937", "#4b5563", "#b91c1c"
_FONT = "font-family='system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif'"


def bars(title: str, unit: str, groups: Mapping[str, Mapping[str, float]], *, decimals: int = 1) -> str:
    """Draw horizontal bars, one for each contender, in groups of one unit of work each.

    :param title: what is compared, in a few words.
    :param unit: what a bar's length means.
    :param groups: for each group's label, the values by contender, in the order in which they are drawn.
    :param decimals: how many are written behind each bar.
    """
    longest = max(value for values in groups.values() for value in values.values())
    left, right, step = 96, 40, 17
    scale = (WIDTH - left - right - 12) / longest
    parts, y = [_text(12, 24, title, size=15, weight="bold"), _text(12, 42, unit, size=12, fill=_FAINT)], 58
    for label, values in groups.items():
        parts.append(_text(12, y + 13, label, size=13, weight="bold"))
        y += 20
        for name, value in values.items():
            best = name == "holdfast"
            parts.append(_text(left - 6, y + 12, name, size=12, anchor="end", weight="bold" if best else "normal"))
            length = max(value * scale, 1)
            parts.append(
                f"<rect x='{left}' y='{y + 1}' width='{length:.1f}' height='14' rx='2' "
                f"fill='{_COLOURS.get(name, _OTHER)}'/>"
            )
            parts.append(_text(left + length + 5, y + 12, f"{value:.{decimals}f}", size=12, weight="bold"))
            y += step
        y += 10
    return _picture(y + 2, f"{title}, {unit}", parts)


@dataclass(frozen=True)
class Comparison:
    """One row of :func:`before_and_after`."""

    question: str
    """What was done, in a few words."""
    before: str
    """What stock SQLAlchemy made of it."""
    after: str
    """What holdfast made of it."""


def before_and_after(title: str, rows: Sequence[Comparison], foot: Sequence[str]) -> str:
    """Draw a table of two columns: stock SQLAlchemy's answer to each question in red, holdfast's in green."""
    middle = 210
    parts = [_text(12, 24, title, size=15, weight="bold")]
    parts.append(_text(12, 48, "stock SQLAlchemy", size=12, fill=_FAINT, weight="bold"))
    parts.append(_text(middle, 48, "with ?plugin=holdfast", size=12, fill=_FAINT, weight="bold"))
    y = 56
    for row in rows:
        parts.append(f"<line x1='12' x2='{WIDTH - 12}' y1='{y}' y2='{y}' stroke='#d1d5db'/>")
        parts.append(_text(12, y + 19, row.question, size=12.5))
        before, after = _wrapped(row.before, 25), _wrapped(row.after, 24)
        for number, line in enumerate(before):
            parts.append(_text(12, y + 38 + 16 * number, line, size=12.5, fill=_BAD, weight="bold"))
        for number, line in enumerate(after):
            parts.append(_text(middle, y + 38 + 16 * number, line, size=12.5, fill=_COLOURS["holdfast"], weight="bold"))
        y += 34 + 16 * max(len(before), len(after))
    for line in foot:
        parts.append(_text(12, y + 12, line, size=10.5, fill=_FAINT))
        y += 15
    said = "; ".join(f"{row.question}: {row.before}, with holdfast {row.after}" for row in rows)
    return _picture(y + 8, f"{title}. {said}", parts)


def _wrapped(text: str, columns: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):  # a no-break space keeps words together
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _text(
    x: float, y: float, words: str, *, size: float, fill: str = _INK, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f"<text x='{x:g}' y='{y:g}' font-size='{size:g}' fill='{fill}' text-anchor='{anchor}' "
        f"font-weight='{weight}'>{escape(words)}</text>"
    )


def _picture(height: float, said: str, parts: Sequence[str]) -> str:
    """Return the whole picture; what it says is there for those who cannot see it, too."""
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:g}' width='{WIDTH}' "
            f"height='{height:g}' role='img' {_FONT}>",
            f"<title>{escape(said)}</title>",
            f"<rect width='{WIDTH}' height='{height:g}' rx='6' fill='#ffffff' stroke='#d1d5db'/>",
            *parts,
            "</svg>\n",
        ]
    )
