"""One tracer around one held engine, in a process of its own: what the application saw, the tracer, and holdfast.

``python -m tests.instrumentation.traced TRACER URL`` prints a line of JSON with the id of the pool's one idle
connection, waits for a line on its standard input (by then that connection has been killed), and prints the outcome.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

LAST = 777


def opentelemetry(instrument: Callable[[Any], None]) -> Callable[[], list[str]]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(provider)

    def statements() -> list[str]:
        attributes = [span.attributes or {} for span in exporter.get_finished_spans()]
        return [str(found.get("db.statement") or found.get("db.query.text") or "") for found in attributes]

    return statements


def otel_mysqldb() -> Callable[[], list[str]]:
    from opentelemetry.instrumentation.mysqlclient import MySQLClientInstrumentor

    return opentelemetry(lambda provider: MySQLClientInstrumentor().instrument(tracer_provider=provider))


def otel_pymysql() -> Callable[[], list[str]]:
    from opentelemetry.instrumentation.pymysql import PyMySQLInstrumentor

    return opentelemetry(lambda provider: PyMySQLInstrumentor().instrument(tracer_provider=provider))


def otel_sqlalchemy() -> Callable[[], list[str]]:
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    def instrument(provider: Any) -> None:
        # It says of itself that it is for SQLAlchemy before 2.1, and would do nothing; it works with 2.1 all the same.
        # The last thing it wraps is SQLAlchemy's asyncio module, which from 2.1 on is missing without greenlet.
        with contextlib.suppress(ImportError):
            SQLAlchemyInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)

    return opentelemetry(instrument)


def datadog(**libraries: bool) -> Callable[[], list[str]]:
    import ddtrace
    from ddtrace.trace import TraceFilter, tracer

    found: list[str] = []

    class Keep(TraceFilter):  # type: ignore[misc]
        def process_trace(self, trace: Any) -> Any:
            found.extend(span.resource for span in trace)
            return None  # nothing is left to be sent

    tracer.configure(trace_processors=[Keep()])
    ddtrace.patch(raise_errors=True, **libraries)
    return lambda: found


def ddtrace_mysqldb() -> Callable[[], list[str]]:
    return datadog(mysqldb=True)


def ddtrace_pymysql() -> Callable[[], list[str]]:
    return datadog(pymysql=True)


def ddtrace_mysqlconnector() -> Callable[[], list[str]]:
    return datadog(mysql=True)


def ddtrace_sqlalchemy() -> Callable[[], list[str]]:
    return datadog(sqlalchemy=True)


def sentry() -> Callable[[], list[str]]:
    import sentry_sdk
    from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration
    from sentry_sdk.transport import Transport

    events: list[Any] = []

    class Keep(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            events.extend(item.payload.json for item in envelope.items)

    sentry_sdk.init(
        dsn="http://nobody@127.0.0.1:9/1",
        transport=Keep,
        integrations=[SqlalchemyIntegration()],
        default_integrations=False,
        traces_sample_rate=1.0,
    )
    transaction = sentry_sdk.start_transaction(name="request")
    transaction.__enter__()

    def statements() -> list[str]:
        transaction.__exit__(None, None, None)
        return [span["description"] for event in events for span in event.get("spans", ()) if span["op"] == "db"]

    return statements


TRACERS = {
    start.__name__: start
    for start in (
        otel_mysqldb,
        otel_pymysql,
        otel_sqlalchemy,
        ddtrace_mysqldb,
        ddtrace_pymysql,
        ddtrace_mysqlconnector,
        ddtrace_sqlalchemy,
        sentry,
    )
}


def layers(connection: Any) -> list[str]:
    """The classes of a connection and of what is wrapped inside it, outermost first."""
    names = []
    while connection is not None:
        names.append(f"{type(connection).__module__}.{type(connection).__qualname__}")
        connection = getattr(connection, "__wrapped__", None)
    return names


def exercise(tracer: str, url: str) -> dict[str, Any]:
    statements = TRACERS[tracer]()

    # Only now: a tracer has to come first.
    import sqlalchemy
    from sqlalchemy import text

    import sqlalchemy_holdfast as holdfast
    from sqlalchemy_holdfast.drivers import ConnectionState, unwrap
    from tests.conftest import wait_until_ended

    engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0)

    def read(number: int) -> Any:
        with engine.connect() as connection:
            return connection.execute(text(f"SELECT {number}")).scalar()

    asked = list(range(100, 110))
    answers = [read(number) for number in asked]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO traced VALUES (1)"))
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO traced VALUES (2)"))
    with engine.connect() as connection:
        idle = connection.connection.driver_connection
        inner = unwrap(idle)
        connection_id = connection.execute(text("SELECT CONNECTION_ID()")).scalar()
    print(json.dumps({"id": connection_id}), flush=True)
    sys.stdin.readline()
    wait_until_ended(idle)
    before = holdfast.status(engine).counters
    asked.append(LAST)
    answers.append(read(LAST))
    asked.append(LAST + 1)
    answers.append(read(LAST + 1))
    after = holdfast.status(engine).counters
    engine.dispose()
    return {
        "asked": asked,
        "answers": answers,
        "statements": statements(),
        "layers": layers(idle),
        "held": type(getattr(inner, "_holdfast", None)) is ConnectionState
        and hasattr(type(inner), "_holdfast_before_command"),
        "held below its wrapper": not hasattr(inner, "__wrapped__"),
        "connects": after.connects,
        "replaced before": before.replaced,
        "replaced": after.replaced,
        "deferred": after.rollbacks_deferred,
        "pipelined": after.statements_pipelined,
        "skipped": after.rollbacks_skipped,
    }


if __name__ == "__main__":
    print(json.dumps(exercise(*sys.argv[1:])), flush=True)
