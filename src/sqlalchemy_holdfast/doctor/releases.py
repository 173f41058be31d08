"""Until when each release series of MariaDB and MySQL gets corrections, and where that is written.

MariaDB: mariadb.org/about, "Maintenance policy". MySQL: Oracle's "Lifetime Support Policy" (the end of Extended
Support; an innovation release ends with the next one). Both as endoflife.date has collected them (mariadb, mysql).
A series that is not here is not judged: it is newer than this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

__all__ = ["ENDS", "end_of_life"]

ENDS: Mapping[str, Mapping[tuple[int, int], date]] = {
    "MariaDB": {
        (5, 5): date(2020, 4, 11),
        (10, 0): date(2019, 3, 31),
        (10, 1): date(2020, 10, 17),
        (10, 2): date(2022, 5, 23),
        (10, 3): date(2023, 5, 25),
        (10, 4): date(2024, 6, 18),
        (10, 5): date(2025, 6, 24),
        (10, 6): date(2026, 7, 6),
        (10, 7): date(2023, 2, 9),
        (10, 8): date(2023, 5, 20),
        (10, 9): date(2023, 8, 22),
        (10, 10): date(2023, 11, 17),
        (10, 11): date(2028, 2, 16),
        (11, 0): date(2024, 6, 6),
        (11, 1): date(2024, 8, 21),
        (11, 2): date(2024, 11, 21),
        (11, 3): date(2024, 5, 29),
        (11, 4): date(2029, 5, 29),
        (11, 5): date(2024, 11, 21),
        (11, 6): date(2025, 2, 13),
        (11, 7): date(2025, 5, 12),
        (11, 8): date(2028, 6, 4),
        (12, 0): date(2025, 11, 18),
        (12, 1): date(2026, 2, 13),
    },
    "MySQL": {
        (5, 5): date(2018, 12, 31),
        (5, 6): date(2021, 2, 28),
        (5, 7): date(2023, 10, 31),
        (8, 0): date(2026, 4, 30),
        (8, 1): date(2023, 10, 25),
        (8, 2): date(2023, 12, 14),
        (8, 3): date(2024, 4, 10),
        (8, 4): date(2032, 4, 30),
        (9, 0): date(2024, 10, 15),
        (9, 1): date(2025, 1, 21),
        (9, 2): date(2025, 4, 15),
        (9, 3): date(2025, 7, 22),
        (9, 4): date(2025, 10, 21),
        (9, 5): date(2026, 1, 20),
        (9, 6): date(2026, 4, 21),
    },
}
"""The last day of each series, by flavour and the version's first two numbers."""


def end_of_life(flavour: str, number: Sequence[int]) -> date | None:
    """Return the last day of a server's series, or ``None`` when it is not known."""
    return ENDS.get(flavour, {}).get((number[0], number[1])) if len(number) >= 2 else None
