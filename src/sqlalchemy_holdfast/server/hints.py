"""What to do about an error while connecting, added to the error's own text.

The exception keeps its type and its driver's message; a line is added with
:meth:`sqlalchemy.exc.StatementError.add_detail`. The hints themselves are in :mod:`~.error_table`.
"""

from __future__ import annotations

from sqlalchemy.engine import ExceptionContext

from .faults import judge

__all__ = ["explain_connect_error"]


def explain_connect_error(context: ExceptionContext, where: str) -> None:
    """Add a hint to an error that was raised while connecting, when there is one for it."""
    hint = judge(context.original_exception, connected=False).hint
    if hint and context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.add_detail(f"holdfast, connecting to {where}: {hint}")
