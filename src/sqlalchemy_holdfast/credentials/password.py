"""A password with the time for which it is valid: what the function of ``holdfast_password`` may return."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Password"]


@dataclass(frozen=True, repr=False)
class Password:
    """A password that is valid for some time.

    The function that is given as ``holdfast_password`` may return one in place of a string. holdfast then keeps the
    password until shortly before its end, and calls the function again for the first connection that is opened after
    that. Its ``repr`` never shows the password.
    """

    value: str
    """The password."""
    expires_in: float | None = None
    """For how many seconds from now it is valid; ``None`` when that is not known."""

    def __repr__(self) -> str:
        return f"<Password, valid for {self.expires_in:g} s>" if self.expires_in is not None else "<Password>"
