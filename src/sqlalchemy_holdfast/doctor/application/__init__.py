"""An application, looked at: which engines it makes, where and when, and what is open when its import has ended.

:mod:`~.watching` imports the application in a process of its own and returns :mod:`~.facts`. In that process
:mod:`~.child` runs: :mod:`~.importing` imports, :mod:`~.observing` takes notes, :mod:`~.ending` ends what does not end,
and :mod:`~.wording` says what failed. :mod:`~.running` returns the same facts of an application in this process.
:mod:`~.engines` and :mod:`~.flask_site` look at objects; :mod:`~.sources` and :mod:`~.web_server` read files.
"""
