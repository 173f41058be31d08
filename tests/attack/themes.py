"""What sequences are made of, by theme: each leads to one kind of fault, and ``everything`` to all.

Words are steps, with their weight behind a ``*``. ``@write`` and its like stand for one statement of that family, a
step ``@unit`` for some steps of the theme's units, ``@visit`` for steps of visitors. ``then`` is no step: it
stands for what is inside it, all by one visitor.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["THEMES", "Theme"]


@dataclass(frozen=True)
class Theme:
    """One kind of sequence."""

    why: str
    visit: str
    """What visitors do."""
    unit: str = "do(@write)*3"
    """What is done in units."""
    behind: str = "do(@write)"
    """What is done behind a commit, or in another flow."""
    env: str = "env(one)*2 env(lifo) env(one)"
    opens: str = "connect*3 session*2 scoped raw"
    envs: tuple[int, int] = (0, 2)
    """How many of those."""
    visitors: int = 3
    """How many there are."""
    length: tuple[int, int] = (2, 9)
    rollback_on_timeout: bool = False


_RUN = "run(@target){@unit}*3 run(engine){@unit} run(maker){@unit}"
_PLAIN = "do(@read) do(@write)*3 add add(many) add(orm) add(many,orm) commit*2 rollback close*2"
_BLOCK = "block(@target){@unit} block(engine){@unit}"
_POINTS = "savepoint release rollback_to"

THEMES: dict[str, Theme] = {
    "refused-commit": Theme(
        "What was refused may not be committed by the next visitor.",
        visit=f"{_PLAIN} {_POINTS} {_RUN} {_BLOCK} listen(@listener)*4",
        unit=f"do(@write)*3 add commit*2 rollback try{{commit}} {_POINTS} fails listen(@listener)",
    ),
    "joined-runs": Theme(
        "A unit may not join another that is over, or another thread's, greenlet's or process's.",
        visit="run(@target){@unit}*4 later(@where){run(@target){@unit}}*3 do(@write) commit close",
        unit="do(@write)*2 keep_context*2 in(@where){run(@target){@unit}}*2 fork{run(@target){@unit}} fails "
        "after_commit{run(@target){@unit}} after_end{run(@target){@unit}} publish{run(@target){@unit}} "
        "run(@target){@unit} try{run(@target){@unit}}",
        length=(1, 4),
    ),
    "published": Theme(
        "What became of a COMMIT is the unit's own knowledge, whatever comes behind it.",
        visit="run(publisher){@unit}*3 run(@target){@unit}*3 run(@target,verify){@unit} do(@write) commit close",
        unit="do(@write)*3 publish{@behind}*2 after_commit{@behind} after_end{@behind} lose(reply) lose(it) "
        "run(@target){@unit} run(other){@unit} try{run(other){@unit}}",
        behind="a.connect b.connect a.do(@read)*3 a.do(@write)*2 a.close a.kill a.session kill_all kill_idle "
        "run(@target){@unit} lose(reply) b.do(@read) reset",
        length=(1, 3),
    ),
    "hidden-writes": Theme(
        "A SELECT that writes is no read.",
        visit="do(@hidden_write)*4 do(@write) do(@read)*2 commit*2 rollback close*2 run(scoped){@unit}*3 "
        "run(@target){@unit}",
        unit="do(@hidden_write)*2 do(@read) do(@write)",
        opens="scoped*3 connect session raw",
    ),
    "hidden-locks": Theme(
        "Locks are free when rollback() or close() has returned.",
        visit="do(@lock)*4 do(@read) rollback(late)*2 close(late)*2 commit(late) do(@hidden_write) stream",
        opens="connect*3 session raw scoped",
        length=(2, 7),
    ),
    "implicit-commits": Theme(
        "Nothing is begun again behind a statement that commits by itself.",
        visit="run(@target){do(@write);@unit;@behind;do(@write)}*5 run(@target,decorated){do(@write);@unit;@behind} "
        "do(@write) commit close",
        unit="do(@write)*3 do(@commit)*2 do(@commit,@dress)*3 callproc(commits) commit(driver) commit(proxied) "
        "driver_autocommit(on) do(rollback_text) do(chain)",
        behind="kill*4 deadlock*2 kill_all reset fails",
        length=(1, 3),
    ),
    "requests": Theme(
        "A GET request is not done again behind what commits by itself.",
        visit="get{@unit;@behind;do(@write)}*3 get{@unit}*2 post{@unit} do(@write) commit close",
        unit="do(@write)*3 do(@read) commit callproc(commits) commit(driver) driver_autocommit(on) add(orm) "
        "do(@commit) run(@target){do(@write)} rollback",
        behind="kill*4 kill_all reset lose(reply) lose(it) deadlock",
        env="env(autocommit)*2 env(one)",
        length=(1, 3),
    ),
    "unread-results": Theme(
        "COMMIT's reply is COMMIT's, whatever was not read before.",
        visit="do(@call)*2 callproc(writes) callproc(two_results)*2 callproc(two_results,unread)*2 do(@write)*2 add "
        "commit(late)*4 rollback close do(@read)*2 do(read_multi) stream do(note_multi) run(@target){@unit}",
        unit="do(@call) callproc(two_results,unread) do(@write)*2 do(@read)",
        opens="connect*2 session raw",
    ),
    "verify": Theme(
        "What the server is asked for is where the unit has written it.",
        visit="run(@target,verify){@unit}*5 do(@write) commit close",
        unit="do(@write)*3 do(use_other)*2 do(use_own) lose(reply) lose(it) lose(reply,silent) lose(it,silent) kill",
        env="env(one) env(myisam)*2 env(lifo)",
        length=(1, 3),
    ),
    "half-units": Theme(
        "Half a unit is never committed.",
        visit="run(@target){@unit}*3 run(@target){do(@write);try{@behind};@unit}*3 do(@write) commit close",
        unit=f"do(@write)*4 try{{@behind}}*2 try{{do(duplicate)}} {_POINTS} try{{run(@target){{@unit}}}}",
        behind="lock_row deadlock kill do(update) do(@write)",
        rollback_on_timeout=True,
        length=(1, 2),
    ),
    "tenants": Theme(
        "A connection has what its info says.",
        visit="tenant(1)*2 tenant(2)*2 tenant(1){@behind}*3 tenant(2){@behind}*3 tenant(1,commit){@behind} decoder "
        "decoder{@behind} do(@read) close",
        behind="kill_idle kill_all*4 reset*2 drop half_close",
        env="env(one)*3 env(lifo)",
    ),
    "open-transactions": Theme(
        "A transaction that a pool is told to leave open stays open.",
        visit="do(@write)*3 do(@read) commit close*3 wait rollback kill_idle",
        opens="raw*3 connect",
        env="env(noreset)*6 env(probe)*4 env(one)*4 env(resetcommit)",
        envs=(2, 4),
        length=(3, 9),
    ),
    "autocommit": Theme(
        "What raised was not done.",
        visit="do(@read)*3 do(insert)*4 add close*2 refuse_rollback*3 do(@commit) commit kill rollback*3 "
        "then{do(@read);refuse_rollback;rollback;do(@write)} then{do(@read);refuse_rollback;close;do(@write)}",
        env="env(autocommit,refuser)*3 env(autocommit,refuser,one) env(refuser,one) env(autocommit)",
        envs=(1, 1),
        opens="connect*3 raw session connect(AUTOCOMMIT)",
        visitors=1,
        length=(3, 7),
    ),
    "children": Theme(
        "A child does not commit half of its parent's transaction.",
        visit="do(@write)*2 do(@read) commit close rollback fork{@behind}*4",
        behind="a.do(@write)*2 a.commit*2 a.do(@read) a.close a.rollback b.do(@write) b.commit run(@target){@unit} "
        "c.connect c.do(@write) c.commit",
        length=(2, 7),
    ),
    "interrupts": Theme(
        "An exception from outside loses nothing, doubles nothing and puts nobody out of sync.",
        visit="interrupt(@kind,@lines){@visit}*4 alarm(@kind){@visit} do(@read)*2 do(@write)*2 commit rollback close*2 "
        f"{_RUN} add stream",
        unit="do(@write)*2 do(@read) interrupt(@kind,@lines){@unit}",
    ),
    "threads": Theme(
        "One connection in several threads gives nobody another one's answer.",
        visit="share*3 do(@read) commit close",
        opens="connect raw session",
        length=(2, 4),
    ),
    "returned-values": Theme(
        "What is to be read behind the commit is refused.",
        visit="run(@target){@unit}*4 close",
        unit="do(@write) give(@lazy)*2",
        length=(1, 2),
    ),
    "faults": Theme(
        "Connections are lost everywhere.",
        visit=f"{_PLAIN} {_RUN} {_BLOCK} run(@target,verify){{@unit}} kill kill_idle kill_all reset drop half_close "
        "lose(reply) lose(it) cut(reply,@size) cut(request,@size) do(remember) do(recall) stream read_only "
        "frozen{@visit}",
        unit="do(@write)*4 do(@read)*2 kill lose(reply) lose(it) cut(reply,@size) cut(request,@size) deadlock reset "
        "do(remember) do(recall) read_only",
        env="env(one)*2 env(lifo) env(delay) env(probe) env(preping) env(serializable) env(nullpool)",
    ),
    "ordinary": Theme(
        "Without any fault the two sides are alike.",
        visit=f"{_PLAIN} {_POINTS} {_RUN} {_BLOCK} do(@any)*6 do(@any,@dress) callproc(writes) callproc(commits) "
        "stream invalidate detach commit(driver) commit(proxied) rollback(proxied) driver_autocommit(on) "
        "driver_autocommit(off) wait",
        unit=f"do(@any)*3 do(@write)*2 {_POINTS} commit rollback fails try{{@unit}} run(@target){{@unit}} "
        "block(@target){@unit} add(orm)",
        env="env(one)*2 env(lifo) env(probe) env(preping) env(autocommit) env(serializable) env(readcommitted) "
        "env(noreset) env(resetcommit) env(nullpool)",
        opens="connect*2 session*2 scoped raw*2 twophase connect(begin) connect(AUTOCOMMIT) connect(SERIALIZABLE) "
        "connect(AUTOCOMMIT,engine) connect(other)",
        length=(3, 14),
    ),
}
