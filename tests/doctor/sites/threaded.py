"""A thread that the import starts."""

from __future__ import annotations

import os
import threading

import sqlalchemy_holdfast as holdfast

engine = holdfast.create_engine(os.environ["DATABASE_URL"])
end = threading.Event()
threading.Thread(target=end.wait, name="metrics", daemon=True).start()
short = threading.Thread(target=int)
short.start()
short.join()
