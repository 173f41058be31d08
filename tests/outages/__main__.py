"""`python -m tests.outages`: what visitors get while the database is away, as a table.

Under each web server the server is killed, stopped in its tracks, or behind a network that swallows packets, for some
seconds: with every thread waiting (as with holdfast_max_waiting_for_server=off), and with the default.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.outages.visitors import Visits, come
from tests.outages.web import uvicorn, uwsgi

RATES = {"/number/1": 20.0, "/static/style.css": 10.0, "/health": 10.0}
WEB: dict[str, Callable[..., AbstractContextManager[str]]] = {
    "uWSGI 2x4": lambda url, **rest: uwsgi(url, processes=2, threads=4, **rest),
    "uWSGI 1x2": lambda url, **rest: uwsgi(url, processes=1, threads=2, **rest),
    "uWSGI 4x1": lambda url, **rest: uwsgi(url, processes=4, threads=1, **rest),
    "FastAPI": uvicorn,
}
HOW = ("killed", "SIGSTOP", "blackhole", "restart")


def take_away(how: str, server: Server, proxy: Proxy, seconds: float, times: list[float]) -> None:
    time.sleep(1.0)
    times.append(time.monotonic())
    if how == "SIGSTOP":
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(server.pid, signal.SIGCONT)
    elif how == "blackhole":
        proxy.blackhole()
        time.sleep(seconds)
        proxy.restore()
    else:
        server.kill()
        time.sleep(seconds)
        server.start()
    times.append(time.monotonic())
    time.sleep(1.5)


def row(web: str, how: str, before: bool, driver: str, seconds: float) -> str:
    with Server() as server, Proxy.for_server(server) as proxy:
        place = {"host": proxy.host, "port": proxy.port} if how == "blackhole" else {}
        query = {"connect_timeout": "3", "read_timeout": "3"}
        url = server.url(driver, query=query, **place).render_as_string(hide_password=False)  # type: ignore[arg-type]
        more = {"WAIT_ALL": "1"} if before else {}
        times: list[float] = []
        with WEB[web](url, **more) as site:
            calm = come(
                site, {path: rate for path, rate in RATES.items() if "number" not in path}, lambda: time.sleep(2)
            )
            visits = come(site, RATES, lambda: take_away(how, server, proxy, seconds, times))
        during = visits.between(*times)
        pages, rest = during.of("/number"), during.of("/static", "/health")
        after = Visits([visit for visit in visits.all if visit.began > times[1]]).of("/number")
        retry = {visit.retry_after for visit in pages.all if visit.status == 503}
        cells = (
            *(web, f"{how} {seconds:g} s, {driver}", "all wait" if before else "default", ms(calm), ms(rest)),
            *(f"{slow(rest)} of {len(rest.all)}", words(pages), f"{pages.longest:.1f}"),
            *(", ".join(sorted(filter(None, retry))), words(after)),
        )
        return f"| {' | '.join(cells)} |"


def ms(visits: Visits) -> str:
    times = [visit.seconds * 1000 for visit in visits.all]
    return f"{statistics.median(times):.0f} / {max(times):.0f}"


def slow(visits: Visits) -> int:
    return sum(visit.seconds >= 0.1 for visit in visits.all)


def words(visits: Visits) -> str:
    return ", ".join(f"{count}x{status}" for status, count in sorted(visits.statuses.items()))


def main(arguments: list[str]) -> None:
    driver = "pymysql"
    head = (
        *("web server", "the database is", "threads", "static, health calm: median / longest ms"),
        *("the same while away: median / longest ms", "of these 100 ms or more", "database pages asked for while away"),
        *("longest s", "Retry-After", "pages afterwards"),
    )
    print("|", " | ".join(head), "|")
    print("|---" * len(head) + "|")
    for web in WEB:
        for how in HOW:
            for before in (True, False):
                wanted = f"{web} {how} {'before' if before else 'after'}"
                if all(word in wanted for word in arguments):
                    print(row(web, how, before, driver, 1.5 if how == "restart" else 5.0), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
