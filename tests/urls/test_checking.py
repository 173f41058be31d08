"""Each mistake in a URL gets its sentence, from holdfast.urls.examine and from the plugin; a good URL gets none."""

from __future__ import annotations

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError, urls
from sqlalchemy_holdfast._pages import page
from tests.urls.helpers import LATER_THAN_20, SECRET, assert_kept_secret, said


def wrong(url: str) -> list[str]:
    return [finding.text for finding in urls.examine(url) if finding.wrong]


def advice(url: str) -> list[str]:
    return [finding.text for finding in urls.examine(url) if not finding.wrong]


CA = __file__
"""A file that is there."""
PA = "me.mysql.pythonanywhere-services.com"

WRONG = [
    ("mysql+mysqldb://{username}:{password}@{hostname}/{databasename}", "still a placeholder"),
    (f"mysql+mysqldb://<username>:{SECRET}@<host>/<db>", "still a placeholder"),
    (f"mysql+mysqldb://<me>:{SECRET}@h/db", "The user name in the URL is in braces or angle brackets"),
    ("mysql+mysqldb://me:<Kx7qZv9w>@h/db", "The password in the URL is in braces or angle brackets"),
    (f"mysql+mysqldb://me:{SECRET}@h/{{db}}", "The database in the URL is in braces or angle brackets"),
    (f"mysql+mysqldb://me:{SECRET}@ h/db", "The host in the URL has white space"),
    (f"mysql+mysqldb://me:{SECRET}@h/db\n", "ends with white space"),
    (f" mysql+mysqldb://me:{SECRET}@h/db", "starts with white space"),
    (f"'mysql+mysqldb://me:{SECRET}@h/db'", "starts with a quotation mark"),
    (f"DATABASE_URL=mysql+mysqldb://me:{SECRET}@h/db", "a variable's name and a = in front of it"),
    (f"jdbc:mysql://me:{SECRET}@h/db", "jdbc:"),
    (f"mysql-pymysql://me:{SECRET}@h/db", "what stands before :// is not a database"),
    (f"mysql+mysqlclient://me:{SECRET}@h/db", "Did you mean mysql+mysqldb://?"),
    (f"mysql+pymsql://me:{SECRET}@h/db", "Did you mean mysql+pymysql://?"),
    (f"mysql+PyMySQL://me:{SECRET}@h/db", "Write it in small letters: mysql+pymysql://."),
    (f"MySQL+PyMySQL://me:{SECRET}@h/db", "Write it in small letters: mysql+pymysql://."),
    (f"MYSQL://me:{SECRET}@h/db", "Write it in small letters: mysql://."),
    (f"SQLite:///{SECRET}", "Write it in small letters: sqlite://."),
    (f"postgres://me:{SECRET}@h/db", "write postgresql://"),
    (f"https://me:{SECRET}@h/db", "the address of a web page"),
    (f"mysql+mysql_connector://me:{SECRET}@h/db", "Did you mean mysql+mysqlconnector://?"),
    (f"mysq+pymysql://me:{SECRET}@h/db", "Did you mean mysql+pymysql://?"),
    (f"mysqli://me:{SECRET}@h/db", "Did you mean mysql://?"),
    (f"mysql+mysqldb://me:{SECRET}@h:33o6/db", "the port, between the : behind the host and the next /"),
    (f"mysql+mysqldb://me:{SECRET}@h:70000/db", "The port 70000 in the URL is not possible"),
    (f"mysql+mysqldb://me:{SECRET}@1@h/db", "must be written as %40"),
    (f"mysql+mysqldb://me:{SECRET}@a:b@h/db", "it has more than one @"),
    (f"mysql+mysqldb://me:{SECRET}@a?b@h/db", "an @ behind its ?"),
    (f"mysql+mysqldb://me:{SECRET}@{PA}/shop", "write me$shop in place of shop"),
    (f"mysql+mysqldb://me:{SECRET}@me.mysql.eu.pythonanywhere-services.com/shop", "write me$shop in place of shop"),
    (f"mysql+mysqldb://me:{SECRET}@h/db?pool_recycle=280", "pool_recycle in the URL is an argument of create_engine"),
    (f"mysql+pymysql://me:{SECRET}@h/db?ssl-mode=REQUIRED", "Write holdfast_tls=required"),
    (f"mysql+pymysql://me:{SECRET}@h/db?holdfast_pipelne=1", "Did you mean holdfast_pipeline"),
    (f"sqlite:///{SECRET}?holdfast_pipeline=1", "can have no effect"),
    (f"mysql+pymysql://me:{SECRET}@tcp(h:3306)/db", "which is Go's way to write it"),
    (f"me:{SECRET}@tcp(h:3306)/db", "which is Go's way to write it"),
    (f"mysql+pymysql://me:{SECRET}@https://h:3306/db", "has :// in it"),
    (f"mysql+pymysql://me:{SECRET}@h:3306:3306/db", "has two ports"),
    (f"mysql+pymysql://me:{SECRET}@$DB_HOST/db", "still a placeholder"),
    (f"mysql+pymysql://me:{SECRET}@h/db/", "ends with a /"),
    (f"mysql+pymysql://me:{SECRET}@h/db;charset=utf8", "has a ; or a & in it"),
    (f"mysql+pymysql://me:{SECRET}@h/3306/db", "Is that the port?"),
    ("", "is empty"),
    ("None", "the word None: the variable that it was read from is not set"),
    (SECRET, "it has no ://"),
]


@pytest.mark.parametrize(("url", "sentence"), WRONG)
def test_each_mistake_gets_its_sentence(url: str, sentence: str) -> None:
    found = wrong(url)
    assert any(sentence in text for text in found), found
    assert_kept_secret(SECRET, *(text for text in found if "Did you mean holdfast_pipeline" not in text))


ADVICE = [
    (f"mysql://me:{SECRET}@h/db", "means mysql+mysqldb://"),
    (f"mysql+mysqldb://me:{SECRET}@h", "names no database"),
    ("mysql+mysqldb://h/db", "has no user name"),
    ("mysql+mysqldb://YOUR_USERNAME:[PASSWORD]@h/shop", "The user name and password in the URL look like the words"),
    ("mysql+mysqldb://me:***@h/db", "copied from a log"),
    (f"mysql+mysqldb://me:{SECRET}#@h/db", "reads it all the same"),
    (f"mysql+mysqldb://me:{SECRET}100%@h/db", "reads it all the same"),
    (f"mysql+mysqldb://me:{SECRET}%41@h/db", "which nobody escapes"),
    (f"mysql+mysqldb://me:{SECRET}@h/db", "plugin=holdfast is not in the URL"),
    (f"mysql+mysqldb://me:{SECRET}@localhost:3307/db", "localhost means the server's Unix socket"),
    (f"mysql+mysqldb://me:{SECRET}@localhost/me$shop", f"the host is {PA}"),
    (f"mysql+mysqldb://you:{SECRET}@{PA}/you$shop", "The host belongs to the account me"),
    (f"mysql+mysqldb://me:{SECRET}@{PA}/Me$shop", "The database belongs to Me"),
    (f"mysql+pymysql://root:{SECRET}@g.prod.aws.tidbcloud.com/d", "listens on port 4000"),
    (f"mysql+pymysql://root:{SECRET}@g.prod.aws.tidbcloud.com/d", "starts with the cluster's prefix"),
    (f"mysql+pymysql://me:{SECRET}@x.mysql.database.azure.com/d", "refuses connections without TLS"),
]


@pytest.mark.parametrize(("url", "sentence"), ADVICE)
def test_what_may_be_meant_is_only_advice(url: str, sentence: str) -> None:
    assert wrong(url) == []
    found = advice(url)
    assert any(sentence in text for text in found), found
    assert_kept_secret(SECRET, *found)
    sqlalchemy.create_engine(url, plugins=["holdfast"])  # and not refused


@pytest.mark.parametrize(
    "url",
    [
        f"mysql+mysqldb://me:{SECRET}@{PA}/me$shop?plugin=holdfast",
        f"mysql+pymysql://me:{SECRET}%40%3A@127.0.0.1:3307/me$shop?plugin=holdfast",
        f"mysql+pymysql://me:{SECRET}@[::1]/db?plugin=holdfast&ssl_ca={CA}",
        f"mysql+mysqldb://me:{SECRET}@{PA}/information_schema?plugin=holdfast",
        "sqlite:///here.db",
        "postgresql://u:p@h/d",
    ],
)
def test_a_good_url_is_left_in_peace(url: str) -> None:
    assert urls.examine(url) == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql+pymysql://{username}:{password}@{hostname}/{databasename}", "still a placeholder"),
        (f"mysql+pymysql://me:{SECRET}@{PA}/shop", r"write me\$shop in place of shop"),
        (f"mysql+pymsql://me:{SECRET}@h/shop", r"Did you mean mysql\+pymysql"),
        (f"mysqll+pymysql://me:{SECRET}@h/shop", r"Did you mean mysql\+pymysql"),
    ],
)
def test_the_plugin_names_the_mistake_too(url: str, sentence: str) -> None:
    with pytest.raises(DatabaseURLError, match=sentence) as caught:
        sqlalchemy.create_engine(url, plugins=["holdfast"])
    assert_kept_secret(SECRET, *said(caught.value))


@pytest.mark.parametrize("url", ["MySQL+PyMySQL", "MYSQL", "postgres", "http", "mysqll"])
def test_a_database_that_sqlalchemy_does_not_know_is_explained(url: str) -> None:
    with pytest.raises(DatabaseURLError, match="SQLAlchemy knows no database") as caught:
        holdfast.create_engine(f"{url}://me:{SECRET}@h/db")
    assert page("errors/database-url-error") in str(caught.value)
    assert_kept_secret(SECRET, *said(caught.value))


def test_the_plugin_lets_through_what_only_looks_wrong() -> None:
    for url in (
        f"mysql+pymysql://me:<{SECRET}>@h/db",
        f"mysql+pymysql://me:{SECRET}@{{h}}/db?unix_socket=/s",
        f"mysql+pymysql://me:{SECRET}@{PA}/you$shop",
        f"mysql+pymysql://me:{SECRET}@{PA}",
        f"mysql+pymysql://me:{SECRET}@h/db?colour=red",  # a listener to do_connect may take it
    ):
        sqlalchemy.create_engine(url, plugins=["holdfast"])


def test_an_escaped_dollar_works_or_is_explained() -> None:
    found = wrong(f"mysql+pymysql://me:{SECRET}@{PA}/me%24shop?plugin=holdfast")
    assert len(found) == (0 if LATER_THAN_20 else 1)
    assert all("write the $ itself" in text for text in found)


@given(st.text("aB3@:/?#%[]&=+ ${}<>'\"\\mysql", max_size=40))
@settings(deadline=None)
def test_no_text_is_too_strange_to_be_examined(rest: str) -> None:
    for text_ in (rest, f"mysql+pymysql://{rest}", f"mysql+pymysql://me:{SECRET}{rest}@h/d"):
        found = urls.examine(text_)
        for finding in found:
            assert finding.text.strip().endswith((".", ")", "?"))
            assert SECRET not in finding.text
        if not any(finding.wrong for finding in found):
            assert isinstance(make_url(text_), URL)
