"""Everything to test a site's database access.

Private MariaDB and MySQL servers, a proxy that counts and breaks, prefork servers to run the site under, and clients
that check its answers.

::

    from sqlalchemy_holdfast.lab import Proxy, Server

    with Server() as server, Proxy.for_server(server, delay=0.005) as proxy:
        engine = create_engine(server.url(host=proxy.host, port=proxy.port))
        with proxy.measure() as work:
            ...
        print(work.commands, work.waits_per_unit)
        proxy.blackhole()  # and see what the site does

    with Prefork("hello.py:application", kind="uwsgi", workers=4) as site:
        report = load(site.url, [Question(f"/double/{n}", str(2 * n)) for n in range(1000)])
    assert report.right == report.sent, report
"""

from __future__ import annotations

from ._errors import LabError, ServerFailed, ServerNotFound
from .database.server import Server, ServerConnection
from .network.proxy import Measurement, Proxy
from .site.load import LoadFailure, LoadReport, Question, load
from .site.prefork import Prefork

__all__ = [
    "LabError",
    "LoadFailure",
    "LoadReport",
    "Measurement",
    "Prefork",
    "Proxy",
    "Question",
    "Server",
    "ServerConnection",
    "ServerFailed",
    "ServerNotFound",
    "load",
]
