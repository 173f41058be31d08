"""Checks: session."""

from __future__ import annotations
