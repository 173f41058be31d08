"""A web site under test: the server that runs it, and the clients that check its answers.

`prefork` starts a real uWSGI or gunicorn (`_web` knows what each needs). `load` asks many questions at once and
compares each answer with the right one.
"""

from __future__ import annotations
