"""The demonstration: connections are broken in front of you, without and with holdfast.

Each part is a module with a function that runs it on a :class:`~.stage.Stage` and returns what happened as plain rows
(:mod:`.lost`, :mod:`.waits`, :mod:`.out_of_step`, :mod:`.prefork`). :mod:`.shown` makes tables of the rows,
:mod:`.parts` lists the parts, and :mod:`.command` is the command. The benchmarks use the same parts with more
contenders and more rounds. What is in ``sites`` is run by a prefork server, never imported here.
"""

from __future__ import annotations
