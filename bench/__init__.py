"""Benchmarks: ``python -m bench``. Stock SQLAlchemy, pool_pre_ping, NullPool and holdfast, side by side in one run.

Each section is a module with a function that measures and returns a :class:`~bench.section.Result`. Contenders are
interleaved in short rounds, because timings on a shared machine drift; figures are medians and ratios of one run.
"""

from __future__ import annotations
