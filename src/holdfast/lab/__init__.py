"""Private MariaDB and MySQL servers, and a proxy that counts and breaks: everything to test a site's database access.

::

    from holdfast.lab import Proxy, Server

    with Server() as server, Proxy.for_server(server, delay=0.005) as proxy:
        engine = create_engine(server.url(host=proxy.host, port=proxy.port))
        with proxy.measure() as work:
            ...
        print(work.commands, work.waits_per_unit)
        proxy.blackhole()  # and see what the site does
"""

from __future__ import annotations

from ._errors import LabError, ServerFailed, ServerNotFound
from .proxy import Measurement, Proxy
from .server import Process, Server

__all__ = ["LabError", "Measurement", "Process", "Proxy", "Server", "ServerFailed", "ServerNotFound"]
