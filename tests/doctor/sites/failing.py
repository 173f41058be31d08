"""Imports that do not end well; the environment says how."""

from __future__ import annotations

import os
import sys
import time

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

SECRET = os.environ["SITE_WORD"]
engine = create_engine(URL.create("mysql+pymysql", "shop", SECRET, "127.0.0.1", int(os.environ["SITE_PORT"]), "shop"))
print("starting with", SECRET, flush=True)


def serve() -> None:
    from flask import Flask

    Flask(__name__).run(port=int(os.environ["SITE_FREE_PORT"]), debug=True)


def serve_asgi() -> None:
    import uvicorn
    from fastapi import FastAPI

    uvicorn.run(FastAPI(), port=int(os.environ["SITE_FREE_PORT"]))


def wait() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def use() -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


match os.environ["SITE_ENDS"]:
    case "exit":
        sys.exit(3)
    case "hard exit":
        os._exit(4)
    case "error":
        raise RuntimeError(f"no such account: {SECRET}")
    case "module":
        import no_such_module_at_all  # type: ignore[import-not-found]  # noqa: F401
    case "uwsgi":
        import uwsgi  # noqa: F401
    case "server":
        serve()
    case "asgi server":
        serve_asgi()
    case "wait":
        wait()
    case "database":
        use()
    case "signal":
        os.kill(os.getpid(), 9)
