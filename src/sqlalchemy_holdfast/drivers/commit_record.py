"""What became of the commits of one user of a connection: a unit of work, or a request.

The connection writes it, its user reads it. It is the user's own object, because the connection may be somebody
else's by the time that the question is asked: COMMIT was answered, the connection went back to the pool, and another
thread has it.
"""

from __future__ import annotations

import enum

__all__ = ["CommitRecord", "CommitState"]


class CommitState(enum.Enum):
    """How far a COMMIT has come."""

    NOT_SENT = "not sent"
    SENT = "sent"
    """Nothing has said whether it was done."""
    REFUSED = "refused"
    """The server answered with an error that proves that nothing was committed."""
    DONE = "done"


class CommitRecord:
    """What one connection did for one user that may have committed something.

    :param outer: the record of a user that this one is inside of, as a unit of work is in a request: it is told, too.
    """

    __slots__ = ("errors", "expected", "largest", "may_have_committed", "outer", "state")

    def __init__(self, outer: CommitRecord | None = None) -> None:
        self.outer = outer
        self.state = CommitState.NOT_SENT
        """What became of the last COMMIT."""
        self.expected = False
        """The user is about to commit: the next COMMIT is the one it means."""
        self.may_have_committed = False
        """Something else was sent that may have committed what came before it, or itself: a COMMIT that nobody
        expected, DDL, a statement in AUTOCOMMIT, or anything that is not understood."""
        self.errors: list[Exception] = []
        """What the server has answered with since the transaction began, and the driver has raised."""
        self.largest = 0
        """Bytes of the largest statement that was sent."""

    def commits_by_itself(self) -> None:
        """Note that something is about to be sent that may commit and is not the COMMIT that is expected."""
        self.may_have_committed = True
        if self.outer is not None:
            self.outer.commits_by_itself()

    def sending(self) -> None:
        """Note that COMMIT is about to be sent."""
        if not self.expected or self.state is not CommitState.NOT_SENT:
            self.may_have_committed = True
        self.state = CommitState.SENT
        if self.outer is not None:
            self.outer.commits_by_itself()

    def answered(self, *, refused: bool) -> None:
        """Note what the server said to it."""
        self.state = CommitState.REFUSED if refused else CommitState.DONE

    def not_sent(self) -> None:
        """Note that the driver refused to send it."""
        self.state = CommitState.NOT_SENT

    def rolled_back(self) -> None:
        """Note that the transaction was rolled back by this side."""
        self.errors.clear()

    @property
    def over(self) -> bool:
        """Whether the transaction that the user has begun is over, or may be."""
        return self.expected and self.state is not CommitState.NOT_SENT
