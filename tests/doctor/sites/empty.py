"""No engine at all."""

from __future__ import annotations
