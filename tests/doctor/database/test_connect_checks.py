"""URL, connecting, account: each check finds it."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.doctor import Severity
from sqlalchemy_holdfast.doctor.checks import CHECKS
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import DRIVERS
from tests.doctor.database.examining import account, examine, facts_of, found, held_url, look_at, silent, with_connect

pytestmark = pytest.mark.slow

Make = Callable[..., Engine]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_a_url_with_a_mistake() -> None:
    url = f"mysql+pymysql://me:<password>@127.0.0.1:{closed_port()}/shop?plugin=holdfast"
    found("HF101", examine(url), "The password in the URL is in braces or angle brackets")
    report = examine("mysql+pymysql://me:pass@word@h/shop?plugin=holdfast")
    found("HF101", report, "has a character that belongs to the user name or password")
    assert "word@h" not in str(report)
    assert report.where == "the URL"
    assert [finding.id for finding in report.findings] == ["HF101"], "nothing was tried"


def test_a_url_that_cannot_be_read() -> None:
    report = examine("127.0.0.1/shop")
    found("HF101", report, "has no ://")
    assert report.where == "the URL"


def test_a_url_that_could_be_better(patient: Server, held: Make) -> None:
    finding = found("HF102", examine(patient.url()), "plugin=holdfast is not in the URL")
    assert "not held" not in finding.evidence, "it is the right URL for a site that uses holdfast's class for Flask"
    assert "sqlalchemy_holdfast.flask" in finding.evidence
    silent("HF102", examine(held_url(patient)))
    silent("HF102", examine(held(patient.url())))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_host_that_is_not_known(driver: str) -> None:
    report = examine(f"mysql+{driver}://me:word@no-such-host.invalid/shop?plugin=holdfast")
    found("HF103", report)
    silent("HF104", report)
    silent("HF109", report)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_port_on_which_nothing_answers(driver: str) -> None:
    report = examine(f"mysql+{driver}://me:word@127.0.0.1:{closed_port()}/shop?plugin=holdfast")
    found("HF104", report)
    silent("HF103", report)


def test_an_account_that_is_refused(patient: Server, driver: str) -> None:
    report = examine(held_url(patient, driver, password="zyxwvq", query={"ssl_ca": patient.tls_ca}))
    finding = found("HF105", report, "1045")
    assert "zyxwvq" not in str(report)
    assert finding.cure
    assert report.statements == 0


def test_a_database_that_is_missing_or_not_allowed(patient: Server, driver: str) -> None:
    found("HF106", examine(held_url(patient, driver, database="nowhere")), "1049")
    with account(patient, databases=["elsewhere"]) as url:
        found("HF106", examine(url), "1044")


def test_encryption_that_fails(mariadb: Server, ailing: Server) -> None:
    """The server's certificate is not of the authority that the URL names."""
    with Server(tls=True) as other:
        query = {"ssl_ca": str(other.tls_ca), "ssl_verify_identity": "1", "ssl_verify_cert": "1"}
        found("HF108", examine(held_url(mariadb, query=query)), "certificate")


def test_a_failure_of_another_kind(mariadb: Server, tmp_path: Path) -> None:
    query = f"plugin=holdfast&holdfast_password_file={tmp_path / 'none'}"
    url = f"mysql+pymysql://app@127.0.0.1:{mariadb.port}/test?{query}"
    finding = found("HF109", examine(url), "PasswordUnavailable", "holdfast_password_file: there is no file")
    assert "Put the password where the setting says" in finding.cure
    silent("HF101", examine(url))


def test_a_mistake_in_the_url_is_one_finding(mariadb: Server) -> None:
    """And not a second one for what it brings about."""
    report = examine(held_url(mariadb, query={"no_such_option": "1"}))
    found("HF101", report, "no_such_option")
    assert [finding.id for finding in report.findings] == ["HF101"]


def test_what_was_said_is_evidence_and_the_cure_is_something_to_do(mariadb: Server) -> None:
    checks = {check.id: check for check in CHECKS}
    report = examine(held_url(mariadb, password="zyxwvq"))
    finding = found("HF105", report, "1045", "\n", page("errors/1045"))
    assert finding.cure == checks["HF105"].cure
    with account(mariadb) as url:
        mariadb.execute("ALTER USER patient WITH MAX_CONNECTIONS_PER_HOUR 1")
        for _ in range(3):
            report = examine(url)
    (spent,) = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    assert "1226" in spent.evidence
    assert spent.cure.startswith("Wait until the hour is over")


def test_a_driver_that_is_not_installed(patient: Server) -> None:
    url = held_url(patient).set(drivername="mysql+cymysql")
    report = examine(url.set(drivername="mariadb+mariadbconnector", host="127.0.0.1", port=closed_port()))
    assert {finding.id for finding in report.findings} & {"HF104", "HF109"}


def test_connecting_that_takes_long(mariadb: Server) -> None:
    with Proxy.for_server(mariadb) as proxy:
        proxy.delay = 0.15
        report = examine(held_url(mariadb, port=proxy.port))
        found("HF114", report, "Connecting took", "a round trip takes")
        found("HF512", report, severity=Severity.WARNING)
        proxy.delay = 0


def test_a_name_with_several_addresses(patient: Server) -> None:
    """Names of this machine's own have one address, so what was found is given more."""
    seen = facts_of(held_url(patient, host="localhost"))
    assert seen.connect is not None
    assert "127.0.0.1" in seen.connect.addresses
    assert seen.connect.peer == "127.0.0.1"
    found("HF115", with_connect(seen, addresses=("192.0.2.7", "192.0.2.8", "127.0.0.1")), "3 addresses: 192.0.2.7")
    found("HF115", with_connect(seen, addresses=("::1", "127.0.0.1")), "first address, ::1, does not answer")
    silent("HF115", with_connect(seen, addresses=("127.0.0.1", "::1")))


def test_an_old_way_to_check_passwords(mariadb: Server) -> None:
    """MySQL 8 has it, and is not to be had here: what MariaDB says of the account, as if MySQL had said it."""
    seen = facts_of(held_url(mariadb))
    assert seen.server is not None
    assert seen.server.account is not None
    assert seen.server.account.plugin == "mysql_native_password"
    silent("HF116", look_at(seen))
    found("HF116", look_at(seen, flavour="MySQL", version="8.0.45"), "app@% logs in with mysql_native_password")


def test_a_password_that_ends(patient: Server) -> None:
    with account(patient) as url:
        silent("HF118", examine(url))
        patient.execute("ALTER USER patient PASSWORD EXPIRE INTERVAL 90 DAY")
        found("HF118", examine(url), "patient@% ends 90 days after its last change")


def test_an_administrators_account(patient: Server) -> None:
    with account(patient) as url:
        silent("HF119", examine(url))
        patient.execute("GRANT ALL PRIVILEGES ON *.* TO patient")
        finding = found("HF119", examine(url), "patient@% has ")
        assert any(right in finding.evidence for right in ("ALL PRIVILEGES", "SUPER"))


def test_another_account_than_the_one_that_was_named(patient: Server) -> None:
    patient.execute("CREATE USER ''@'127.0.0.1' IDENTIFIED BY 'app'")
    try:
        patient.execute("GRANT SELECT ON test.* TO ''@'127.0.0.1'")
        url = held_url(patient, user="nobody", query={"ssl_ca": patient.tls_ca})
        found("HF120", examine(url), "logged in as nobody@127.0.0.1", "takes it for ''@'127.0.0.1'")
    finally:
        patient.execute("DROP USER ''@'127.0.0.1'")


def test_no_part_of_what_was_gathered_has_the_password(patient: Server) -> None:
    with account(patient) as url:
        seen = facts_of(url.update_query_dict({"ssl_key_password": "s3cret-Pw"}, append=True))
        assert "s3cret" not in repr(seen)
        assert "s3cret" not in repr([dataclasses.asdict(part) for part in (seen.settings,)])
    assert seen.url is not None
    assert seen.url.password is None
