"""Plain SQLAlchemy: a script that writes down a number now and then, and reports what it has.

    cd examples
    python script.py                  # SQLite, in the file numbers.db
    DATABASE_URL='mysql+pymysql://user:password@localhost/test' python script.py --times 3 --pause 600

Between two numbers it waits, on MySQL perhaps longer than the server lets a connection idle: the next one is written
all the same.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import time

from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import sqlalchemy_holdfast as holdfast


class Base(DeclarativeBase):
    pass


class Number(Base):
    __tablename__ = "number"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write down numbers.")
    parser.add_argument("--times", type=int, default=3, help="how many numbers")
    parser.add_argument("--pause", type=float, default=1.0, metavar="SECONDS", help="how long to wait between two")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    # The same as sqlalchemy.create_engine() with ?plugin=holdfast in the URL.
    engine = holdfast.create_engine(os.environ.get("DATABASE_URL") or "sqlite:///numbers.db")
    Base.metadata.create_all(engine)
    for count in range(arguments.times):
        if count:
            time.sleep(arguments.pause)
        with Session(engine) as session:
            session.add(Number(value=random.randrange(1000)))
            session.commit()
            numbers, average = session.execute(select(func.count(), func.avg(Number.value))).one()
            print(f"{numbers} numbers, {average:.0f} on average", flush=True)
    print(holdfast.status(engine))


if __name__ == "__main__":
    main()
