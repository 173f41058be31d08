"""Checks: middlebox."""

from __future__ import annotations
