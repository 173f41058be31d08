"""Checks of what stands between the site and its server."""

from __future__ import annotations

from collections.abc import Iterator

from ..check import Seen, check
from ..examined import Examined
from ..facts import seen
from ..finding import Severity

_SILENT = 300
"""Seconds after which many firewalls and load balancers forget an idle connection: 350 s (AWS NLB), 240 s (Azure)."""


@check(
    "HF601",
    group="middlebox",
    title="Something between the site and its server speaks for the server",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Nothing needs to be done: holdfast waits for each ROLLBACK's reply there. Without it, one wait less.",
    explanation="""MySQL Router, ProxySQL, MaxScale, RDS Proxy and the like take part in the protocol: they may share
    server connections between clients, and may not accept a statement that is sent ahead. holdfast recognises them,
    and then sends nothing ahead. Servers that only speak MySQL's protocol (TiDB, Vitess) count, too. Session state,
    such as user variables and GET_LOCK, may not survive in all of them.""",
)
def middlebox(examined: Examined) -> Iterator[str | Seen]:
    words = seen(examined.connect, "the connection").middlebox
    if words:
        yield f"{words[:1].upper()}{words[1:]}."


@check(
    "HF602",
    group="middlebox",
    title="A relay is between the site and its server",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Find its idle limit, in seconds, and keep holdfast_keepalive_idle below that (60 s unless you changed it).",
    explanation="""The port that the site connects to is not the server's own, so something passes the bytes on:
    HAProxy, an SSH tunnel, a container's published port, a load balancer. It may close idle connections by a rule of
    its own, and to the server every client may seem to come from the relay's address.""",
)
def relay(examined: Examined) -> Iterator[str | Seen]:
    connect, server = seen(examined.connect, "the connection"), seen(examined.server, "the server")
    own = server.variable("port")
    if connect.port is not None and not connect.middlebox and own.isdigit() and int(own) != connect.port:
        yield f"The site connects to port {connect.port}; the server listens on port {own}."


@check(
    "HF603",
    group="middlebox",
    title="Statements are sent ahead through a middlebox",
    severity=Severity.ERROR,
    needs={"url", "server"},
    cure="Remove holdfast_pipeline=true; with auto, the default, holdfast does not do so there.",
    explanation="""holdfast_pipeline=true sends the next statement before a ROLLBACK is answered, whatever is in
    between. Some middleboxes then stop passing anything on, or answer 1047 in the middle of work.""",
)
def pipeline_forced(examined: Examined) -> Iterator[str | Seen]:
    words = seen(examined.connect, "the connection").middlebox
    if words and examined.settings.pipeline is True:
        yield f"holdfast_pipeline is true, and {words}."


@check(
    "HF604",
    group="middlebox",
    title="A lost connection may stay unnoticed for long",
    severity=Severity.WARNING,
    needs={"url", "server"},
    cure="Remove holdfast_keepalive_idle and holdfast_tcp_user_timeout: their defaults are 60 s each.",
    explanation="""Firewalls, load balancers and address translation forget a connection that was idle for some minutes
    (350 s in AWS, 240 s in Azure), and say nothing. Keepalive, sent more often than that, keeps it alive. Without
    tcp_user_timeout, a statement that nobody receives waits for about fifteen minutes.""",
)
def keepalive(examined: Examined) -> Iterator[str | Seen]:
    connect, server = seen(examined.connect, "the connection"), seen(examined.server, "the server")
    port = (server.session or {}).get("port", "")
    relayed = port.isdigit() and connect.port is not None and int(port) != connect.port
    if not (connect.network or relayed) or not seen(examined.pool, "the engine").held:
        return
    idle, settings = examined.settings.keepalive_idle, examined.settings
    if idle is None or idle > _SILENT:
        yield _default("holdfast_keepalive_idle", idle)
    if settings.tcp_user_timeout is None or settings.tcp_user_timeout > _SILENT:
        yield _default("holdfast_tcp_user_timeout", settings.tcp_user_timeout)


def _default(name: str, seconds: float | None) -> Seen:
    value = "off" if seconds is None else f"{seconds:g} s"
    return Seen(
        f"{name} is {value}.", cure=f"Remove {name}, or give it a value below {_SILENT} s: its default is 60 s."
    )
