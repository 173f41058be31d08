"""What is known about providers: each fact has a source, and says what the URL is made of."""

from __future__ import annotations

from dataclasses import fields

import pytest
from sqlalchemy import make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError
from sqlalchemy_holdfast.urls import providers
from sqlalchemy_holdfast.urls.providers import PROVIDERS, Provider

every = pytest.mark.parametrize("known", PROVIDERS, ids=lambda known: known.name)


@every
def test_every_fact_has_a_source(known: Provider) -> None:
    facts = {
        part.name
        for part in fields(known)
        if part.name not in ("name", "title", "sources") and getattr(known, part.name) != part.default
    }
    assert set(known.sources) == facts
    for source in known.sources.values():
        assert source.title
        assert source.address.startswith("https://")


def test_the_names_are_distinct() -> None:
    assert len({known.name for known in PROVIDERS}) == len(PROVIDERS)


@pytest.mark.parametrize("name", ["pythonanywhere-eu", "PythonAnywhere_EU", " pythonanywhere-eu "])
def test_a_name_may_be_written_as_people_do(name: str) -> None:
    assert providers.by_name(name).name == "pythonanywhere-eu"


def test_an_unknown_name_is_refused_with_the_nearest_and_all() -> None:
    with pytest.raises(DatabaseURLError, match=r"Did you mean pythonanywhere\?") as caught:
        holdfast.url("me", "Kx7qZv9w", at="pythonanwhere")
    for known in PROVIDERS:
        assert known.name in str(caught.value)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("me.mysql.pythonanywhere-services.com", "pythonanywhere"),
        ("Me.MySQL.EU.PythonAnywhere-Services.com.", "pythonanywhere-eu"),
        ("shop.mysql.database.azure.com", "azure"),
        ("gateway01.eu-central-1.prod.aws.tidbcloud.com", "tidb-cloud"),
        ("pythonanywhere-services.com.example.org", None),
        ("localhost", None),
        ("", None),
        (None, None),
    ],
)
def test_a_provider_is_recognised_by_its_servers_names(address: str | None, name: str | None) -> None:
    found = providers.by_address(address)
    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("at", "given", "host", "port", "database", "socket"),
    [
        ("pythonanywhere", None, "me.mysql.pythonanywhere-services.com", None, "me$shop", None),
        ("pythonanywhere-eu", None, "me.mysql.eu.pythonanywhere-services.com", None, "me$shop", None),
        ("pythonanywhere", "127.0.0.1:3333", "127.0.0.1", 3333, "me$shop", None),  # their SSH tunnel
        ("azure", "shop", "shop.mysql.database.azure.com", None, "shop", None),
        ("azure", "shop.privatelink.mysql.database.azure.com", None, None, "shop", None),
        ("google-cloud-sql", "project:region:db", "localhost", None, "shop", "/cloudsql/project:region:db"),
        ("google-cloud-sql", "example.org:project:region:db", None, None, "shop", None),
        ("google-cloud-sql", "10.1.2.3", "10.1.2.3", None, "shop", None),
        ("tidb-cloud", "gateway01.eu-central-1.prod.aws.tidbcloud.com", None, 4000, "shop", None),
    ],
)
def test_what_a_provider_adds(
    at: str, given: str | None, host: str | None, port: int | None, database: str, socket: str | None
) -> None:
    built = make_url(holdfast.url("me", "p", given, "shop", at=at, driver="pymysql"))
    assert built.database == database
    assert built.port == port
    if host is not None:
        assert built.host == host
    if socket is not None:
        assert built.query["unix_socket"] == socket


@pytest.mark.parametrize(
    ("given", "full"), [("shop", "me$shop"), ("default", "me$default"), ("me$shop", "me$shop"), ("you$x", "you$x")]
)
def test_a_database_gets_its_prefix_once(given: str, full: str) -> None:
    built = holdfast.url("me", "p", database=given, at="pythonanywhere")
    assert f"/{full}?" in built, "the $ itself, which SQLAlchemy 2.0 does not decode"
    assert make_url(built).database == full


def test_no_database_gets_no_prefix() -> None:
    assert make_url(holdfast.url("me", "p", at="pythonanywhere")).database is None


@pytest.mark.parametrize("at", ["azure", "google-cloud-sql", "tidb-cloud"])
def test_a_host_that_does_not_follow_is_asked_for(at: str) -> None:
    with pytest.raises(DatabaseURLError, match="needs a host: give host="):
        holdfast.url("me", "Kx7qZv9w", at=at)
