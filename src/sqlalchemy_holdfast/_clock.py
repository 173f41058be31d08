"""A clock for how long a connection has been idle, or open: one that goes on while the machine sleeps.

``time.monotonic()`` stands still on Linux and macOS while a laptop, or the container of a function, is suspended. A
connection that was idle for a second of that time may have been idle for a night of the server's. Short waits, and the
limits of a checkout or a unit of work, are measured with ``time.monotonic()`` all the same: sleep is no work.

=========== ============================ ======================================================================
Linux       ``CLOCK_BOOTTIME``           counts suspend (clock_getres(2)); 0.02 us a call more than monotonic()
macOS       ``CLOCK_MONOTONIC``          "will continue to increment while the system is asleep" (clock_gettime(3));
                                         Python's monotonic() is mach_absolute_time(), which does not
Windows     ``time.monotonic()``         GetTickCount64 and QueryPerformanceCounter count sleep
=========== ============================ ======================================================================
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable

__all__ = ["monotonic_also_asleep"]


def _best() -> Callable[[], float]:
    name = "CLOCK_MONOTONIC" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    number = getattr(time, name, None)
    if number is None:
        return time.monotonic
    clock = functools.partial(time.clock_gettime, number)
    try:
        clock()
    except OSError:  # a kernel, or a sandbox, that does not have it
        return time.monotonic
    return clock


monotonic_also_asleep: Callable[[], float] = _best()
"""Return monotonic time in seconds, the time included for which the machine was suspended."""
