"""Random operations and random faults on one held engine, checked against a ledger.

Every row written carries a token of its own. What the application was told about the token (committed, not committed,
or nothing: an error from COMMIT itself) is compared with what the database has in the end, and every value that was
read with the value asked for. An error is expected only where a fault was put on the very connection that it came from.

From the command line, which prints the counts and exits with 1 when a promise was broken::

    python -m tests.chaos --driver pymysql --operations 50000 --seed 1 --threads 6
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys

from sqlalchemy_holdfast.lab import Server
from tests.chaos.plan import CONNECTION_ID, Plan
from tests.chaos.run import run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--driver", default="pymysql", choices=sorted(CONNECTION_ID))
    parser.add_argument("--operations", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--pool-size", type=int, default=4)
    parser.add_argument("--max-overflow", type=int, default=2)
    parser.add_argument("--lifo", action="store_true")
    parser.add_argument("--autocommit", action="store_true", help="isolation_level='AUTOCOMMIT' for the engine")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a proxy adds in each direction")
    parser.add_argument("--transport", default="tcp", choices=("tcp", "unix"))
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--fault-share", type=float, default=0.12)
    parser.add_argument("--only", default=None, help="operations, comma between them")
    parser.add_argument("--executable", default=None, help="the server program")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    plan = Plan(
        driver=given.driver,
        operations=given.operations,
        seed=seed,
        threads=given.threads,
        pool_size=given.pool_size,
        max_overflow=given.max_overflow,
        lifo=given.lifo,
        autocommit=given.autocommit,
        delay=given.delay,
        transport=given.transport,
        fault_share=given.fault_share,
        only=frozenset(given.only.split(",")) if given.only else None,
    )
    faulthandler.dump_traceback_later(60 + given.operations / 20, exit=True)
    with Server(tls=given.tls, executable=given.executable, options={"innodb_lock_wait_timeout": 5}) as server:
        report = run(plan, server)
        print(f"{server.flavour} {server.version}{', TLS' if given.tls else ''}, {plan.transport}")
    print(report, flush=True)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
