"""What stands between a site and its server: each check finds it."""

from __future__ import annotations

import pytest

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.doctor.database.examining import examine, found, held_url, silent
from tests.middleboxes.running import haproxy, router

pytestmark = pytest.mark.slow


def test_a_server_that_says_it_is_something_else(ailing: Server) -> None:
    report = examine(held_url(ailing))
    found("HF601", report, "This is MaxScale, as its version text says.")
    silent("HF603", report)
    found("HF603", examine(held_url(ailing, query={"holdfast_pipeline": "true"})), "MaxScale")


@pytest.mark.mysql
def test_mysql_router(mysql: Server) -> None:
    with router(mysql, client="DISABLED", to_server="REQUIRED") as port:
        report = examine(held_url(mysql, "mysqldb", port=port))
        found("HF601", report, "MySQL Router")
        silent("HF602", report)


def test_haproxy(mariadb: Server) -> None:
    with haproxy(mariadb) as port:
        report = examine(held_url(mariadb, port=port))
        found("HF602", report, f"The site connects to port {port}; the server listens on port {mariadb.port}.")
        silent("HF601", report)


def test_keepalive_that_is_off_behind_a_relay(patient: Server) -> None:
    with Proxy.for_server(patient) as proxy:
        report = examine(held_url(patient, port=proxy.port))
        found("HF602", report)
        silent("HF604", report)
        off = {"holdfast_keepalive_idle": "off"}
        found("HF604", examine(held_url(patient, port=proxy.port, query=off)), "holdfast_keepalive_idle is off")
        late = {"holdfast_tcp_user_timeout": "900"}
        found("HF604", examine(held_url(patient, port=proxy.port, query=late)), "holdfast_tcp_user_timeout is 900 s")
    silent("HF604", examine(held_url(patient, query=off)))  # straight to a server of this machine
