"""What several messages about a database URL say."""

from __future__ import annotations

from .. import drivers

__all__ = ["ESCAPING", "EXAMPLE", "driver_names"]

ESCAPING = (
    "In a URL, each of @ : / ? # % in a user name or password must be written as %40 %3A %2F %3F %23 %25: "
    "urllib.parse.quote(password, safe='') does it. sqlalchemy.URL.create(), sqlalchemy_holdfast.url() and the "
    "command holdfast url take the password as it is, and build the URL."
)
"""How to write a password in a URL, and what does it for you."""

EXAMPLE = "It should look like mysql+mysqldb://user:password@host:3306/database."
"""What a database URL looks like."""


def driver_names() -> list[str]:
    """Return the names that the drivers have in a URL, each once."""
    return list(dict.fromkeys(driver.url_name for driver in drivers.DRIVERS))
