"""What may import what: the house, from the roof down. The documentation's picture is made from this table.

Each room imports from the floors below its own, never from above and never from beside it.
"""

from __future__ import annotations

ON_TOP: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {"lab", "experiments", "doctor"},
    "experiments": {"lab"},
    "lab": set(),
    "flask": {"unavailable"},
    "asgi": {"unavailable"},
    "wsgi": {"unavailable"},
    "unavailable": set(),
    "doctor": set(),
}
"""What stands on top of the core, and which of the others on top each may import. The core imports none of them."""

FLOORS: tuple[tuple[str, ...], ...] = (
    ("__init__",),
    ("plugin",),
    ("transactions",),
    ("pool", "urls"),
    ("drivers", "budget", "credentials"),
    ("fork",),
    ("reporting",),
    ("server", "settings", "counters", "_application"),
    ("errors", "_clock", "_outside", "_registry", "_words", "_version"),
    ("_pages",),
)
"""The core, the highest floor first."""

POOL: tuple[tuple[str, ...], ...] = (
    ("engine",),
    ("listeners", "first_statement", "dialect"),
    ("replacing",),
    ("queue_pool",),
    ("waiting", "leaks", "explaining", "resets"),
    (
        "connection_limit",
        "liveness",
        "encryption",
        "holders",
        "outage",
        "set_up",
        "status",
        "uncommitted",
        "who_answers",
    ),
    ("web_threads",),
    ("__init__",),
)
"""The same inside of the package ``pool``, which has the most modules."""
