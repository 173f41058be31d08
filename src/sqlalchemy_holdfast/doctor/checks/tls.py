"""Checks: tls."""

from __future__ import annotations
