"""Which faults are in force on a proxy: plain values that its relay sets, and that each connection reads.

They last until `Faults.end`, or until a connection takes them, where that is said. What acts at once on the
connections open now (reset, drop, half_close, lose_packets) is no value here but a method of a link.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CutAt", "Faults"]


@dataclass(frozen=True)
class CutAt:
    """At which statement a connection is to be cut, and how."""

    statement: str
    """Its text, or how that begins."""
    delivered: bool
    """Whether the server gets it; if so, the client gets none of the reply."""
    server_knows: bool
    """Whether both sides are reset. If not, the client's side alone ends."""


@dataclass
class Faults:
    """What a proxy does to the bytes that pass. Each has the name of the `Proxy` method that sets it."""

    delay: float
    """Seconds added in each direction."""
    blackhole: bool = False
    freeze: bool = False
    refuse: bool = False
    hold_replies: bool = False
    truncate_reply: int | None = None
    """How many bytes of the next reply still pass. The connection that gets that reply takes it."""
    truncate_request: int | None = None
    """The same for what a client sends next."""
    cut_at: CutAt | None = None
    """The connection that sends the statement takes it."""

    def end(self) -> None:
        """End all faults; the delay, which is none, stays."""
        self.blackhole = self.freeze = self.refuse = self.hold_replies = False
        self.truncate_reply = self.truncate_request = None
        self.cut_at = None
