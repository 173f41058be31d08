"""Middleware for Bottle, Pyramid and every other WSGI application: a request without a connection gets a 503.

::

    from sqlalchemy_holdfast.wsgi import HoldfastMiddleware

    application = HoldfastMiddleware(application)

Flask needs it not: :class:`sqlalchemy_holdfast.flask.SQLAlchemy` does the same, and lets the application's own error
pages be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .unavailable import answer_to

__all__ = ["HoldfastMiddleware"]

Environment = dict[str, Any]
Application = Callable[[Environment, Callable[..., Any]], Iterable[bytes]]


class HoldfastMiddleware:
    """WSGI middleware: answer 503 with ``Retry-After`` when a request fails because no connection is to be had.

    As :class:`sqlalchemy_holdfast.asgi.HoldfastMiddleware`. An application that answers its own errors with a page,
    as Bottle does, has to let them through (``bottle.app().catchall = False``).

    :param app: the WSGI application that answers.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    def __call__(self, environ: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        begun = False

        def start(*call: Any) -> Any:
            nonlocal begun
            begun = True
            return start_response(*call)

        try:
            return self.app(environ, start)
        except Exception as error:
            if begun:
                raise
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            answer = answer_to(error, environ["REQUEST_METHOD"], path, environ.get("HTTP_ACCEPT", ""))
            if answer is None:
                raise
            start_response("503 Service Unavailable", answer.headers)  # no exc_info: nothing has begun
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
