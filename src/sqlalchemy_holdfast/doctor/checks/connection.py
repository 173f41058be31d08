"""Checks: connection."""

from __future__ import annotations
