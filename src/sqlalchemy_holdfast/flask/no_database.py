"""A request that cannot get a database connection is answered with 503 and ``Retry-After``, and not with 500."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, got_request_exception, request
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable

from ..unavailable import TEXT, retry_after, tell

__all__ = ["answer_unavailable"]


def answer_unavailable(app: Flask) -> None:
    """Have an application answer such requests with 503.

    Flask comes here with what no error handler of the application's took. Then, in this order: its handler for 503 (or
    for every ``HTTPException``) makes the page; or its handler for 500 does; or the page is a short one of our own. The
    answer has the status 503, unless the handler names another than 200 and 500. Where Flask passes errors on, as in
    debug mode, in tests and with ``PROPAGATE_EXCEPTIONS``, it does so here too.
    """
    handle_exception: Any = app.handle_exception

    def handle(*arguments: Any) -> Response:
        context, error = arguments[:-1], arguments[-1]  # Flask is about to pass its context as well
        seconds = retry_after(error)
        propagate = app.config["PROPAGATE_EXCEPTIONS"]
        if seconds is None or propagate or (propagate is None and (app.testing or app.debug)):
            response: Response = handle_exception(*arguments)
            return response
        got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
        tell(error, request.method, request.path, seconds)
        finalize: Any = app.finalize_request
        try:
            page = _unavailable(app, _page(app, context, error, seconds), seconds)
            response = finalize(*context, page, from_error_handler=True)
        except Exception as again:  # a page that needs the database, too
            if retry_after(again) is None:
                raise
            response = finalize(*context, _own_page(seconds), from_error_handler=True)
        return response

    handler: Any = handle
    app.handle_exception = handler  # type: ignore[method-assign]


def _page(app: Flask, context: tuple[Any, ...], error: Exception, seconds: int) -> Any:
    handle: Any = app.handle_http_exception
    own = _own_page(seconds)
    found = handle(*context, own)
    if found is not own:
        return found
    stock: HTTPException = InternalServerError(original_exception=error)
    found = handle(*context, stock)
    return own if found is stock else found


def _unavailable(app: Flask, page: Any, seconds: int) -> Response:
    """Make the response of a page. Flask gives the status 200 to a page whose handler returns its text alone."""
    response = app.make_response(page)
    if response.status_code in (200, 500):
        response.status_code = 503
    if response.status_code == 503:
        response.headers.setdefault("Retry-After", str(seconds))
    return response


def _own_page(seconds: int) -> ServiceUnavailable:
    return ServiceUnavailable(TEXT.format(seconds=seconds), retry_after=seconds)
