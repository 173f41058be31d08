"""What is seen of an application while it is imported."""

from __future__ import annotations
