"""The work that is done through a middlebox: units that follow directly on each other, and what is asked of them."""

from __future__ import annotations

import threading
from collections import Counter

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

THREADS = 4
UNITS = 60


def units(engine: Engine, *, threads: int = THREADS, each: int = UNITS) -> Counter[str]:
    """Read, write and read again, in several threads, from a cold start at once; what came of it."""
    outcomes: Counter[str] = Counter()
    start = threading.Barrier(threads)

    def work(number: int) -> None:
        start.wait()
        for turn in range(each):
            wanted = number * 1000 + turn
            try:
                with engine.connect() as connection:
                    first = connection.execute(text(f"SELECT {wanted}")).scalar_one()
                with engine.begin() as connection:
                    connection.execute(text(f"UPDATE counted SET value = value + 1 WHERE id = {number}"))
                with engine.connect() as connection:
                    second = connection.execute(text(f"SELECT {wanted}, 'a' AS letter")).one()
            except DBAPIError as error:
                outcomes[f"error: {error.orig}"] += 1
            else:
                outcomes["right" if (first, tuple(second)) == (wanted, (wanted, "a")) else "wrong"] += 1

    working = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for one in working:
        one.start()
    for one in working:
        one.join()
    return outcomes
