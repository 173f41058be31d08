"""`python -m tests.hosting` prints what came of the page's blocks, stock and held: 500 requests each, under uWSGI.

The idle limit is 2 s and the pauses are longer. Stock is given pool_recycle=1, scaled down with the limit; holdfast
the page's 280, which here is as good as none.
"""

from __future__ import annotations

from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from sqlalchemy_holdfast.lab import Server
from tests.conftest import DRIVERS
from tests.hosting.host import BLOCKS, IDLE_LIMIT, make_host, serve, visit


def main() -> None:
    """Serve every site at once, so that they share the pauses."""
    table = Table("block", "driver", "stock: wrong / failed / lost", "holdfast: wrong / failed / lost", title="of 500")
    with Server(options={"wait_timeout": IDLE_LIMIT, "max_connections": 300}) as server, ExitStack() as stack:
        make_host(server)
        cases = [(block, driver) for block in BLOCKS for driver in DRIVERS]
        stock = {case: serve(stack, server, case[1], case[0], STOCK="1", RECYCLE="1") for case in cases}
        held = {case: serve(stack, server, case[1], case[0]) for case in cases}
        visit(server, stock.values(), bursts=5, size=100, timeout=2)
        visit(server, held.values(), bursts=5, size=100)
        for block, driver in cases:
            one, other = stock[block, driver], held[block, driver]
            table.add_row(block, driver, *(f"{x.wrong} / {x.failed} / {-x.lost_or_doubled}" for x in (one, other)))
    Console().print(table)


if __name__ == "__main__":
    main()
