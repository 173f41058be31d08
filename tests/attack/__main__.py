"""Attack holdfast at random, beside stock SQLAlchemy.

    python -m tests.attack --seconds 60 --driver pymysql --seed 1 --only refused-commit
    python -m tests.attack --driver pymysql --replay '1:run(engine){do(insert); commit}'

The exit status is 1 when something was wrong on the held side.
"""

from __future__ import annotations

import os
import random
import sys

import click

from .campaign import Campaign, quiet
from .fuzz import Pair
from .lab import Lab
from .mends import MENDS, Mend
from .replays import REPLAYS
from .script import format_steps, parse
from .themes import THEMES
from .watch import watched

DRIVERS = ("mysqldb", "pymysql", "mysqlconnector")


@click.command()
@click.option("--driver", "drivers", multiple=True, type=click.Choice(DRIVERS), help="Default: each.")
@click.option("--against", type=click.Choice(("mariadb", "mysql")), default="mariadb", show_default=True)
@click.option("--seconds", type=float, default=60.0, show_default=True, help="For each driver.")
@click.option("--seed", help="Default: another one each time.")
@click.option("--only", multiple=True, type=click.Choice(list(THEMES)), help="A theme; may be repeated. Default: all.")
@click.option("--first", is_flag=True, help="Stop at the first thing that is wrong.")
@click.option("--shrink/--no-shrink", default=True, show_default=True)
@click.option("--strict", is_flag=True, help="Count what the documentation does not promise, too.")
@click.option("--replay", help="Run one sequence, 'SEED:STEPS', and show each step's outcome.")
@click.option("--rollback-on-timeout", is_flag=True, help="For --replay: a server that undoes a transaction with 1205.")
@click.option("--replays", is_flag=True, help="Run the sequences of replays.py, and say which are wrong.")
@click.option("--without", type=click.Choice(list(MENDS)), help="Take a mend out, and look until that is noticed.")
@click.option("--themes", "list_themes", is_flag=True, help="List the themes, and end.")
def main(
    drivers: tuple[str, ...],
    against: str,
    seconds: float,
    seed: str | None,
    only: tuple[str, ...],
    first: bool,
    shrink: bool,
    strict: bool,
    replay: str | None,
    rollback_on_timeout: bool,
    replays: bool,
    without: str | None,
    list_themes: bool,
) -> None:
    """Attack holdfast at random, beside stock SQLAlchemy."""
    if list_themes:
        for name, theme in THEMES.items():
            click.echo(f"{name:18} {theme.why}")
        return
    with quiet():
        program = executable(against)
        if replay is not None:
            wrong = [_replay(driver, program, replay, rollback_on_timeout) for driver in drivers or DRIVERS]
            sys.exit(1 if any(wrong) else 0)
        if replays:
            sys.exit(1 if sum(_replays(driver, program) for driver in drivers or DRIVERS) else 0)
        seed = str(random.SystemRandom().randrange(1 << 30)) if seed is None else seed
        if without is not None:
            sys.exit(0 if _without(MENDS[without], program, seed, seconds) else 1)
        bad = False
        for driver in drivers or DRIVERS:
            click.echo(f"{driver} on {against}: {seconds:g} s, seed {seed}, {', '.join(only) or 'all themes'}")
            campaign = Campaign(
                driver, program, seed, only or tuple(THEMES), seconds, first, shrink, strict, click.echo
            )
            campaign.run()
            _summary(campaign)
            bad = bad or bool(campaign.found)
        sys.exit(1 if bad else 0)


def _without(mend: Mend, program: str | None, seed: str, seconds: float) -> bool:
    """Look for what happens without a mend, and say whether it was found."""
    click.echo(f"{mend.driver}: {mend.without}")
    campaign = Campaign(mend.driver, program, seed, (mend.theme,), seconds, True, True, False, click.echo)
    with mend.taken_out():
        campaign.run()
    return any(found.finding.rule in mend.rules for found in campaign.found)


def executable(against: str) -> str | None:
    """Return the server program for ``--against``: MySQL is the one that HOLDFAST_LAB_MYSQLD names."""
    mysqld = os.environ.pop("HOLDFAST_LAB_MYSQLD", None)  # the lab would take it for MariaDB as well
    if against == "mysql" and mysqld is None:
        raise click.UsageError("HOLDFAST_LAB_MYSQLD names no MySQL server")
    return mysqld if against == "mysql" else None


def _replay(driver: str, program: str | None, replay: str, rollback_on_timeout: bool) -> bool:
    _, _, text = replay.partition(":")
    steps = parse(text)
    click.echo(f"{driver}: {format_steps(steps)}")
    with Lab(program, rollback_on_timeout=rollback_on_timeout) as lab:
        pair = Pair(lab, driver)
        pair.trace = True
        findings = pair.run(steps)
    for finding in findings:
        click.echo(f"  {finding}")
    return any(finding.side == "held" for finding in findings)


def _replays(driver: str, program: str | None) -> int:
    """Run all of them, and return how many are wrong."""
    wrong = 0
    for rollback_on_timeout in (False, True):
        with Lab(program, rollback_on_timeout=rollback_on_timeout) as lab:
            pair = Pair(lab, driver)
            for replay in REPLAYS:
                if replay.rollback_on_timeout is rollback_on_timeout:
                    found = [f for f in watched(pair, parse(replay.steps)) if f.side == "held"]
                    wrong += bool(found)
                    said = f"wrong: {found[0].rule}: {found[0].text}" if found else "right"
                    click.echo(f"{driver}, {replay.theme}, {replay.what}: {said}")
    click.echo(f"{driver}: {wrong} of {len(REPLAYS)} are wrong")
    return wrong


def _summary(campaign: Campaign) -> None:
    rate = campaign.sequences / max(campaign.seconds, 1e-9)
    click.echo(
        f"{campaign.sequences} sequences, {campaign.steps} steps, {rate:.1f} sequences a second; "
        f"held: {len(campaign.found)} different findings"
    )
    done = sum(campaign.outcomes.values()) or 1
    click.echo("  " + ", ".join(f"{what} {100 * n / done:.0f} %" for what, n in campaign.outcomes.most_common(9)))
    for found in campaign.found:
        click.echo(f"  {found}\n      {format_steps(found.steps)}")
    for limit, count in campaign.limits.most_common():
        click.echo(f"  held, {count} times: {limit}")
    for reason, count in campaign.stock.most_common():
        click.echo(f"  stock, {count} times: {reason}\n      e.g. {campaign.examples[reason]}")


if __name__ == "__main__":
    main(prog_name="python -m tests.attack")
