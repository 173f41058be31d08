"""Experiments: connections are broken, without and with holdfast, and what happened is returned as plain rows.

Each experiment is a module with a function `run` that works on a :class:`~.stage.Stage`:

* :mod:`.lost`: connections that the server closed between two requests;
* :mod:`.waits`: the round trips that a request waits for;
* :mod:`.out_of_sync`: a reply that was left unread;
* :mod:`.prefork`: a site that used the database while a prefork server imported it.

:mod:`.contenders` says who is compared with whom, :mod:`.guestbook` is the application, :mod:`.surroundings` tells
what a run ran on. A row is a dataclass with a ``contender``, and with ``bad``: how many things were not as they
should be.

Nothing here prints, and nothing knows the command line. The demonstration shows the rows, and the benchmarks run the
same experiments with more contenders and more rounds. What is in ``sites`` is run by a prefork server, and never
imported here.
"""

from __future__ import annotations
