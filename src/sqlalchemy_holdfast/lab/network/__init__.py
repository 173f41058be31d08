"""The network between a client and a server: a proxy that counts, adds delay, and breaks on demand.

`proxy` has the class `Proxy`, which users see. Below it, each module knows only those after it:

* `_relay`: one proxy's listening socket, its connections and its faults;
* `_link`: one proxied connection, with its two sockets and two directions;
* `_loop`: the thread, with its selector, timers and calls from other threads;
* `_faults`: which faults are in force;
* `_protocol`: reads commands and statements from the bytes that clients send.
"""

from __future__ import annotations
