"""Middleware for FastAPI, Starlette and every other ASGI application: a request without a connection gets a 503.

::

    from sqlalchemy_holdfast.asgi import HoldfastMiddleware

    app.add_middleware(HoldfastMiddleware)

It needs no framework.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .pool.web_threads import tell_anyio
from .unavailable import answer_to

__all__ = ["HoldfastMiddleware"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class HoldfastMiddleware:
    """ASGI middleware: answer 503 with ``Retry-After`` when a request fails because no connection is to be had.

    That is after :class:`~sqlalchemy_holdfast.ServerAway`, :class:`~sqlalchemy_holdfast.CheckoutTimeout`, and a
    driver's error while connecting that says that the server is away or full. An error that the application's own
    exception handler takes never comes here. Any other error goes on, and so does every error once the response has
    begun, and every error of an application with ``debug=True``.

    :param app: the ASGI application that answers.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        _tell_threads()
        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if begun or getattr(scope.get("app"), "debug", False):
                raise
            accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
            answer = answer_to(error, scope["method"], scope["path"], accept.decode("latin-1"))
            if answer is None:
                raise
            headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def _tell_threads() -> None:
    """Tell how many threads anyio has for what is not ``async``: only in its event loop can it be asked."""
    anyio = sys.modules.get("anyio.to_thread")
    if anyio is not None:
        try:
            tell_anyio(anyio.current_default_thread_limiter().total_tokens)
        except Exception:  # an event loop that is none of anyio's
            pass
