"""Passwords that change: where they come from, how long one is kept, and what happens when the server refuses it."""

from __future__ import annotations

from .password import Password
from .passwords import Passwords, from_settings

__all__ = ["Password", "Passwords", "from_settings"]
