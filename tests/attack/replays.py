"""Short sequences that were found, by what was wrong. Each is to be right, with every driver.

``python -m tests.attack --replays`` runs all of them and says which are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REPLAYS", "Replay"]


@dataclass(frozen=True)
class Replay:
    """One sequence."""

    what: str
    """What was wrong."""
    theme: str
    """The theme that finds it."""
    steps: str
    rollback_on_timeout: bool = False


REPLAYS: tuple[Replay, ...] = (
    # What was refused is committed by the next visitor.
    Replay("a unit's own commit", "refused-commit", "run(engine){do(insert); commit}"),
    Replay("a listener to commit", "refused-commit", "a.connect; a.do(insert); listen(commit); a.commit; a.close"),
    Replay(
        "a listener to commit, a session's",
        "refused-commit",
        "a.session; a.do(insert); listen(commit); a.commit; a.close",
    ),
    # A unit joins one that is over, or another's.
    Replay("a copied context", "joined-runs", "run(maker){keep_context}; later(context){run(maker){do(insert)}}"),
    Replay("another thread", "joined-runs", "run(maker){keep_context}; later(thread){run(maker){do(insert)}}"),
    Replay("another greenlet", "joined-runs", "run(maker){keep_context}; later(greenlet){run(maker){do(insert)}}"),
    Replay(
        "the context of a unit that failed",
        "joined-runs",
        "run(maker){keep_context; fails}; later(context){run(maker){do(insert)}}",
    ),
    Replay("a thread of a unit that fails", "joined-runs", "run(engine){in(thread){run(engine){do(insert)}}; fails}"),
    Replay("a child", "joined-runs", "run(engine){do(read); fork{run(engine){do(insert)}}}"),
    Replay("after the transaction's end", "joined-runs", "run(maker){do(insert); after_end{run(maker){do(insert)}}}"),
    Replay(
        "a session that publishes", "joined-runs", "run(publisher){do(insert); publish{run(publisher){do(insert)}}}"
    ),
    # An acknowledged COMMIT, and one that is unknown, are not repeated.
    Replay(
        "behind the commit the connection is another's, and lost",
        "published",
        "env(one); run(publisher){do(insert); publish{a.connect; a.do(read); a.kill; a.do(read)}}",
    ),
    Replay("an inner unit's unknown outcome", "published", "run(engine){run(other){do(insert); lose(reply)}}"),
    Replay("the same, of a session's", "published", "run(maker){run(other_maker){do(insert); lose(reply)}}"),
    # A SELECT that writes, or locks, is no read.
    Replay("a function that writes", "hidden-writes", "a.scoped; a.do(note); run(scoped){do(insert)}"),
    Replay("a write behind a SELECT", "hidden-writes", "a.scoped; a.do(note_multi_far); run(scoped){do(insert)}"),
    Replay("a lock in a derived table", "hidden-locks", "a.connect; a.do(lock_derived); a.rollback(late)"),
    Replay("a lock in a union", "hidden-locks", "a.connect; a.do(lock_select_union); a.close(late)"),
    Replay("a lock behind a long comment", "hidden-locks", "a.connect; a.do(lock_far); a.close(late)"),
    Replay("a lock in an executable comment", "hidden-locks", "a.connect; a.do(lock_executable); a.close(late)"),
    Replay("a lock in several statements", "hidden-locks", "a.connect; a.do(lock_multi); a.rollback(late)"),
    Replay("a lock in several statements, a raw connection", "hidden-locks", "a.raw; a.do(lock_multi); a.close(late)"),
    # What commits by itself.
    Replay("a driver's commit()", "implicit-commits", "run(engine){do(insert); commit(driver); kill; do(insert)}"),
    Replay("the pool's commit()", "implicit-commits", "run(engine){do(insert); commit(proxied); deadlock}"),
    Replay("callproc()", "implicit-commits", "run(engine){do(insert); callproc(commits); kill; do(insert)}"),
    Replay("autocommit()", "implicit-commits", "run(engine){do(insert); driver_autocommit(on); kill; do(insert)}"),
    Replay(
        "a setting for one statement", "implicit-commits", "run(engine){do(insert); do(for_alter); kill; do(insert)}"
    ),
    Replay("a request in AUTOCOMMIT", "requests", "env(autocommit); get{do(insert); kill; do(insert)}"),
    # Replies that were not read.
    Replay("COMMIT behind a CALL", "unread-results", "a.connect; a.do(call_writes_and_reads); a.commit(late)"),
    Replay("COMMIT behind several", "unread-results", "a.connect; a.do(note_multi); a.commit(late)"),
    Replay("a read behind a CALL", "unread-results", "a.connect; a.do(call_reads); a.do(read)"),
    Replay("a unit with a CALL", "unread-results", "run(engine){do(call_writes_and_reads)}"),
    Replay("a lost COMMIT behind a CALL", "unread-results", "run(engine){lose(it); do(call_writes_and_reads)}"),
    # Asking what became of a COMMIT.
    Replay("USE in the unit", "verify", "run(engine,verify){do(insert); do(use_other); lose(reply)}"),
    Replay("USE before the unit", "verify", "run(engine){do(use_other)}; run(engine,verify){do(insert); lose(reply)}"),
    Replay("a table without transactions", "verify", "env(myisam); run(engine,verify){do(insert); lose(it)}"),
    Replay("1205 undoes all", "half-units", "run(engine){do(insert); try{lock_row; do(update)}}", True),
    # A replaced connection has what its info says.
    Replay("a tenant", "tenants", "tenant(2); tenant(2){kill_all}"),
    Replay("the driver's object", "tenants", "decoder; decoder{kill_all}"),
    # The probe, AUTOCOMMIT, children.
    Replay(
        "the probe of an open transaction",
        "open-transactions",
        "env(noreset); env(probe); env(one); a.raw; a.do(insert); a.close; b.raw; b.commit; b.close",
    ),
    Replay(
        "AUTOCOMMIT behind a refused ROLLBACK",
        "autocommit",
        "env(refuser); env(autocommit); a.connect; a.do(read); refuse_rollback; a.rollback; a.do(insert)",
    ),
    Replay("a child's commit", "children", "a.session; a.do(insert); fork{a.do(insert); a.commit}; a.commit"),
    # What is read later, and what is interrupted.
    Replay("a result in a dict", "returned-values", "run(engine){give(dict)}"),
    Replay("a generator in a list", "returned-values", "run(engine){give(generators)}"),
    Replay("a time limit while connecting", "interrupts", "alarm(timeout){a.connect}"),
    Replay("a time limit in a statement", "interrupts", "a.connect; alarm(timeout){a.do(read)}"),
    Replay("a time limit in a unit", "interrupts", "alarm(timeout){run(engine){do(insert)}}"),
)
