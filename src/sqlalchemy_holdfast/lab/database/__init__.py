"""Database servers: a private MariaDB or MySQL that a test starts, stops, kills and throws away.

`server` has the class `Server`. The other modules are its parts: which program to run (`_executable`), its command
line (`_command`), an empty data directory (`_bootstrap`), certificates (`_tls`) and the administrator's connection
(`_admin`).
"""

from __future__ import annotations
