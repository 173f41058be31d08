"""The demonstration's site, with the function that uWSGI calls after a fork overwritten once the engine is there.

uwsgidecorators does that when it is imported. What is left to notice the fork by is the process id.
"""

from __future__ import annotations

import uwsgi

from sqlalchemy_holdfast.experiments.sites.ledger import application

__all__ = ["application"]

before = uwsgi.post_fork_hook
uwsgi.post_fork_hook = lambda: None
print("overwritten:", before.__module__)
