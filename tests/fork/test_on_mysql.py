"""What a fork does, on Oracle's MySQL: the tests of the other modules, with its servers in the place of MariaDB's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.experiments import prefork
from sqlalchemy_holdfast.lab import Server
from tests.conftest import MYSQLD
from tests.fork.conftest import with_table
from tests.fork.test_child import test_a_checkout_in_the_child_has_a_session_of_its_own
from tests.fork.test_inherited import (
    test_a_statement_on_what_was_inherited_runs_on_a_connection_of_the_childs,
    test_the_child_cannot_commit_what_the_parent_began,
)
from tests.fork.test_parent_survives import (
    test_the_parent_keeps_session_transaction_and_result,
    test_the_parent_survives_a_child_that_is_killed,
    test_the_parent_survives_every_way_for_a_scripts_child_to_end,
)
from tests.fork.test_prefork import test_every_client_gets_its_own_answer_and_every_entry_is_made_once

__all__ = [
    "test_a_checkout_in_the_child_has_a_session_of_its_own",
    "test_a_statement_on_what_was_inherited_runs_on_a_connection_of_the_childs",
    "test_every_client_gets_its_own_answer_and_every_entry_is_made_once",
    "test_the_child_cannot_commit_what_the_parent_began",
    "test_the_parent_keeps_session_transaction_and_result",
    "test_the_parent_survives_a_child_that_is_killed",
    "test_the_parent_survives_every_way_for_a_scripts_child_to_end",
]

pytestmark = pytest.mark.mysql


@pytest.fixture(scope="session")
def ledger(mysql_server: Server) -> Server:
    return with_table(mysql_server)


@pytest.fixture(scope="session")
def tls_ledger() -> Iterator[Server]:
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD, tls=True) as server:
        yield with_table(server)


@pytest.fixture(scope="module")
def tables(mysql_server: Server) -> Iterator[Server]:
    prefork.make_tables(mysql_server)
    yield mysql_server
    mysql_server.execute("DROP TABLE ledger, page", database="test")
