"""The demonstration: runs the experiments one after another, and shows what happened.

:mod:`.parts` lists the parts, with the words that go with each; :mod:`.shown` makes tables of the rows;
:mod:`.command` is the command. What a part does is in :mod:`sqlalchemy_holdfast.experiments`.
"""

from __future__ import annotations
