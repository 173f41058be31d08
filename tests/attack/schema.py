"""What is in each side's two databases, and how it is made empty again."""

from __future__ import annotations

from typing import Any

__all__ = ["ROWS", "TABLES", "create", "create_commits_table"]

ROWS = 12
"""Rows of the table counter. Each visitor and each depth of units has one."""
NUMBERS = 400
"""Rows of the table numbers: above the highest number of a step."""
TABLES = ("ledger", "once", "lasting", "triggering")
"""Where the numbers are."""

_TABLES = """
CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, KEY (n)) ENGINE=InnoDB;
CREATE TABLE once (n INT PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE lasting (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, KEY (n)) ENGINE=MyISAM;
CREATE TABLE triggering (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB;
CREATE TABLE counter (id INT PRIMARY KEY, value INT NOT NULL) ENGINE=InnoDB;
CREATE TABLE heavy (id INT PRIMARY KEY, value INT NOT NULL) ENGINE=InnoDB;
CREATE TABLE numbers (n INT PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE tenant (t INT PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE scratch (id INT) ENGINE=InnoDB;
CREATE VIEW noting AS SELECT n, note(n) AS x FROM numbers;
CREATE VIEW locking AS SELECT n AS id, lock_row(n) AS x FROM numbers;
CREATE VIEW looking AS SELECT 1
"""
# A number in the table triggering is one in the ledger: the trigger's. The row itself is counted nowhere else.
_ROUTINES = (
    "CREATE TRIGGER triggered AFTER INSERT ON triggering FOR EACH ROW INSERT INTO ledger (n) VALUES (NEW.n)",
    "CREATE FUNCTION note(x INT) RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO ledger (n) VALUES (x); RETURN x; END",
    "CREATE FUNCTION lock_row(x INT) RETURNS INT READS SQL DATA BEGIN DECLARE y INT; "
    "SELECT value INTO y FROM counter WHERE id = x FOR UPDATE; RETURN x; END",
    "CREATE PROCEDURE writes(x INT) INSERT INTO ledger (n) VALUES (x)",
    "CREATE PROCEDURE writes_and_reads(x INT) BEGIN INSERT INTO ledger (n) VALUES (x); SELECT x; SELECT x + 1; END",
    "CREATE PROCEDURE two_results(x INT) BEGIN SELECT x; SELECT x + 1; END",
    "CREATE PROCEDURE fails_late(x INT) BEGIN INSERT INTO missing_table (n) VALUES (x); SELECT x; END",
    "CREATE PROCEDURE commits(x INT) BEGIN INSERT INTO ledger (n) VALUES (x); COMMIT; END",
    "CREATE PROCEDURE commits_first(x INT) BEGIN COMMIT; SELECT x; END",
    "CREATE PROCEDURE rolls_back() ROLLBACK",
)


def create(execute: Any, database: str, *, other: str, account: str) -> None:
    """Create a side's two databases, its account, and everything in them.

    :param execute: runs one statement as the administrator, in a database if one is named.
    """
    for name in (database, other):
        execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        for statement in _ROUTINES[1:3]:  # the views need them
            execute(statement, name)
        for statement in _TABLES.split(";\n"):
            execute(statement, name)
        for statement in (_ROUTINES[0], *_ROUTINES[3:]):
            execute(statement, name)
        execute("INSERT INTO once VALUES (0)", name)
        for table, count in (("counter", ROWS), ("heavy", 60)):
            execute(f"INSERT INTO {table} VALUES " + ", ".join(f"({i}, 0)" for i in range(1, count + 1)), name)
        execute("INSERT INTO numbers VALUES " + ", ".join(f"({i})" for i in range(1, NUMBERS + 1)), name)
        execute(f"INSERT INTO tenant VALUES ({1 if name == database else 2})", name)
        execute(f"GRANT ALL PRIVILEGES ON {name}.* TO '{account}'@'%'")


def create_commits_table(execute: Any, database: str, engine: str) -> None:
    """Create a database's table holdfast_commits anew, of an engine."""
    execute("DROP TABLE IF EXISTS holdfast_commits", database)
    execute(
        "CREATE TABLE holdfast_commits (token BINARY(16) NOT NULL PRIMARY KEY, created DATETIME NOT NULL, "
        f"KEY ix_holdfast_commits_created (created)) ENGINE={engine}",
        database,
    )
