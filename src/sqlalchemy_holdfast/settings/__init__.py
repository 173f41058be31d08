"""All settings: the name, unit, default and range of each, and what it changes.

A setting is written in the URL as ``holdfast_<name>=<value>`` or given to ``create_engine`` as a keyword
argument of the same name. None is needed. What the values of the settings for passwords are, no error shows.

:mod:`~.setting` says what one setting is and accepts, :mod:`~.table` has a row for each, and :mod:`~.values` reads
those that are in force for one engine.
"""

from __future__ import annotations

from .setting import PREFIX, Setting
from .table import SETTINGS
from .values import Settings

__all__ = ["PREFIX", "SETTINGS", "Setting", "Settings"]
