"""What a WSGI server imports: `uwsgi --module wsgi:application`, `gunicorn wsgi:application`.

On PythonAnywhere these lines go into the WSGI configuration file of the "Web" tab, with your own folder, and above the
last import with a line that names the database (README.md has it).
"""

from __future__ import annotations

import sys
from pathlib import Path

folder = str(Path(__file__).resolve().parent)  # PythonAnywhere: folder = "/home/you/holdfast/examples/guestbook"
if folder not in sys.path:
    sys.path.insert(0, folder)

from guestbook import app as application  # type: ignore[import-not-found]  # noqa: E402

__all__ = ["application"]
