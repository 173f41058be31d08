"""Flask-SQLAlchemy with holdfast on: ``from sqlalchemy_holdfast.flask import SQLAlchemy``.

The class is Flask-SQLAlchemy's own (3.1 or later), and all of its documentation holds. What is added:

* every MySQL or MariaDB bind is held by holdfast, others are left as they are;
* what older versions of Flask-SQLAlchemy could do still works: ``SQLALCHEMY_POOL_RECYCLE`` and its siblings,
  ``db.get_engine(app)``, ``db.session.close()`` without an application context;
* settings that come too late are not ignored in silence;
* a request has a session of its own even where an application context was pushed at module level;
* ``db.run()`` and ``@db.transactional`` do whole units of work, as :func:`~.run` does, in ``db.session``;
* in debug mode, a warning names what a request has changed and not committed;
* with ``HOLDFAST_RETRY_SAFE_REQUESTS`` a GET or HEAD request whose connection was lost is answered all the same;
* a request that cannot get a connection is answered with 503 and ``Retry-After``;
* model bases with dataclasses work on SQLAlchemy 2.1, where Flask-SQLAlchemy 3.1.1 alone fails.
"""

from __future__ import annotations

from .extension import SQLAlchemy

__all__ = ["SQLAlchemy"]
