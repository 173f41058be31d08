"""What can go wrong in the lab.

RuntimeError
 └── LabError            anything the lab itself could not do
      ├── ServerNotFound   there is no such program to run: no MariaDB or MySQL, no uWSGI, no gunicorn
      └── ServerFailed     there is one, and it did not do what was asked
"""

from __future__ import annotations


class LabError(RuntimeError):
    """Raised when the lab itself could not do what was asked; base of the two below."""


class ServerNotFound(LabError):
    """Raised when a server program can be found nowhere; the message says what to install."""


class ServerFailed(LabError):
    """Raised when a server did not start, ended by itself, or is not running when it is needed.

    The message names the server's address and directory, and ends with the last lines of its log.
    """


for _error in (LabError, ServerNotFound, ServerFailed):
    _error.__module__ = "sqlalchemy_holdfast.lab"
