"""An application, looked at: which engines it makes, where and when, and what is open when its import has ended.

:mod:`~.watching` imports the application in a process of its own (:mod:`~.child`, where :mod:`~.observing` takes notes)
and returns :mod:`~.facts`. :mod:`~.running` returns the same of an application that runs in this process.
:mod:`~.sources` and :mod:`~.web_server` read files: the application's own, and the web server's settings.
"""
