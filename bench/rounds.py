"""Short rounds in turn, so that every contender has its share of whatever else the machine is doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import mean, median, quantiles

__all__ = ["cpu_in_turn", "median_ratio", "rates_in_turn", "spread"]


def rates_in_turn(work: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return units per second of each contender in each round; a round lasts about so many seconds."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name in _turn(list(work), number):
            do, units, start = work[name], 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < seconds:
                do()
                units += 1
            rates[name].append(units / spent)
    return rates


def cpu_in_turn(work: Mapping[str, Callable[[], object]], *, rounds: int, units: int) -> dict[str, list[float]]:
    """Return seconds of this process's CPU (user and system) per unit, of each contender in each round."""
    cpu: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name in _turn(list(work), number):
            do, start = work[name], time.process_time()
            for _ in range(units):
                do()
            cpu[name].append((time.process_time() - start) / units)
    return cpu


def median_ratio(mine: list[float], theirs: list[float]) -> float:
    """Return the median over the rounds of the ratio of two contenders in the same round."""
    return median(a / b for a, b in zip(mine, theirs, strict=True))


def spread(ratios: list[float]) -> tuple[float, float, float]:
    """Return the mean, and the values that a tenth of the rounds are below and above."""
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    tenths = quantiles(ratios, n=10)
    return mean(ratios), tenths[0], tenths[-1]


def _turn(names: list[str], number: int) -> list[str]:
    """Begin with another one in each round: the first one finds the caches cold."""
    first = number % len(names)
    return names[first:] + names[:first]
