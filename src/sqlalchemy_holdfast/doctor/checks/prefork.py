"""Checks of what forks: the engine, the web server's processes, and threads."""

from __future__ import annotations
