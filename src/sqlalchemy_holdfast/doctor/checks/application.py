"""Checks of the application: its engines, its sessions, and what else is in its process."""

from __future__ import annotations
