"""What was seen of an application: plain values, which the checks look at."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ApplicationFacts"]


@dataclass(frozen=True)
class ApplicationFacts:
    """What was seen of an application while it was imported, and afterwards."""
