"""What may import what, and that holdfast itself needs SQLAlchemy and nothing else."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sqlalchemy_holdfast as holdfast
from tests.promises.bare import SOURCE, run_bare
from tests.promises.layers import FLOORS, ON_TOP, POOL

MODULES = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}
DRIVERS = {"MySQLdb", "pymysql", "mysql"}

LAYERS = FLOORS[::-1]
"""From the ground up."""


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, as a dotted name, wherever in the file; and the names it takes from them."""
    package = ["sqlalchemy_holdfast", *path.relative_to(SOURCE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            if node.module:
                base = [*base, *node.module.split(".")]
                yield ".".join(base)
            yield from (".".join([*base, alias.name]) for alias in node.names)  # which may be modules


def own_parts(path: Path) -> set[str]:
    """The first level of holdfast's own modules that a file imports."""
    own = {
        name.partition(".")[2].partition(".")[0]
        for name in imports(path)
        if name.partition(".")[0] == "sqlalchemy_holdfast"
    }
    return {part if f"{part}.py" in os.listdir(SOURCE) or (SOURCE / part).is_dir() else "__init__" for part in own}


def layer(part: str) -> int | None:
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def test_the_parser_sees_imports() -> None:
    assert {"sqlalchemy_holdfast.counters", "sqlalchemy_holdfast.server.faults", "functools"} <= set(
        imports(MODULES["drivers/connection"])
    )
    assert own_parts(MODULES["plugin"]) >= {"drivers", "urls", "errors", "pool", "settings"}


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name.partition("/")[0]) is not None])
def test_imports_go_one_way(name: str) -> None:
    part = name.partition("/")[0]
    own = layer(part)
    assert own is not None
    for imported in own_parts(MODULES[name]) - {part}:
        other = layer(imported)
        assert other is not None, f"{name} imports {imported}, which has no place in the order"
        assert other < own, f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("pool/")])
def test_imports_inside_of_the_pool_go_one_way(name: str) -> None:
    floors = {module: number for number, modules in enumerate(POOL) for module in modules}
    own = name.partition("/")[2]
    prefix = "sqlalchemy_holdfast.pool."
    for imported in {found.removeprefix(prefix) for found in imports(MODULES[name]) if found.startswith(prefix)}:
        if imported in floors:  # and not a name in one
            assert floors[imported] > floors[own], f"{own} imports {imported}"


def test_every_module_of_the_pool_has_a_place_in_the_order() -> None:
    modules = {name.partition("/")[2] for name in MODULES if name.startswith("pool/")}
    assert modules == {module for floor in POOL for module in floor}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("server/")])
def test_what_is_known_of_the_server_knows_sqlalchemys_errors_and_nothing_else_of_it(name: str) -> None:
    theirs = {found for found in imports(MODULES[name]) if found.split(".")[0] == "sqlalchemy"}
    allowed = {"server/faults": ("sqlalchemy.exc",), "server/hints": ("sqlalchemy.engine",)}.get(name, ())
    assert all(found.startswith(allowed) for found in theirs) if allowed else not theirs


def test_every_part_of_the_core_has_a_place_in_the_order() -> None:
    core = {name.partition("/")[0] for name in MODULES} - set(ON_TOP)
    unplaced = {part for part in core if layer(part) is None}
    assert unplaced == set(), "new: put it where it belongs in LAYERS"


@pytest.mark.parametrize("name", MODULES)
def test_what_stands_on_top_is_nobodys_foundation(name: str) -> None:
    part = name.partition("/")[0]
    assert set(ON_TOP) & own_parts(MODULES[name]) <= ON_TOP.get(part, set()) | {part}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even for a type alone, under TYPE_CHECKING. A package's ``__init__`` only hands names on, and is left out."""
    modules = {f"sqlalchemy_holdfast.{name.replace('/', '.')}": path for name, path in MODULES.items()}
    order = TopologicalSorter({name: set(imports(path)) & set(modules) for name, path in modules.items()})
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("lab/")])
def test_the_lab_needs_nothing_of_holdfast(name: str) -> None:
    assert own_parts(MODULES[name]) <= {"lab"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("experiments/")])
def test_an_experiment_returns_rows_and_prints_nothing(name: str) -> None:
    assert not {"click", "rich"} & {imported.partition(".")[0] for imported in imports(MODULES[name])}
    used = {node.id for node in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(node, ast.Name)}
    assert "print" not in used


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(("drivers/", "lab/"))])
def test_only_its_own_module_imports_a_driver(name: str) -> None:
    assert not DRIVERS & {imported.partition(".")[0] for imported in imports(MODULES[name])}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("drivers/")])
def test_a_drivers_module_imports_its_own_driver_and_no_other(name: str) -> None:
    own = {"mysqldb": "MySQLdb", "pymysql": "pymysql", "mysqlconnector": "mysql"}
    modules = (*own, "mysqldb_tls", "pymysql_tls", "pymysql_clear_text", *(f"{name}_options" for name in own))
    allowed = {name: {own[name.partition("_")[0]]} for name in modules}
    found = DRIVERS & {imported.partition(".")[0] for imported in imports(MODULES[name])}
    assert found == allowed.get(name.partition("/")[2], set())


def test_no_driver_is_there_in_a_bare_python() -> None:
    """For the tests that rely on it."""
    code = "import importlib.util as u; print([n for n in ('MySQLdb', 'pymysql', 'mysql', 'click') if u.find_spec(n)])"
    assert run_bare(code) == "[]"


@pytest.mark.slow
def test_importing_holdfast_needs_sqlalchemy_alone() -> None:
    code = """
        import sqlalchemy_holdfast as holdfast
        from sqlalchemy import create_engine
        engine = create_engine('sqlite://?plugin=holdfast')
        print(holdfast.__version__, engine.connect().exec_driver_sql('select 7').scalar(), end=' ')
        print(holdfast.status(engine).active)
    """
    assert run_bare("\n".join(line.strip() for line in code.splitlines())) == f"{holdfast.__version__} 7 False"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    ["import sqlalchemy_holdfast as holdfast", "import sqlalchemy_holdfast.plugin; sqlalchemy_holdfast.SETTINGS"],
)
def test_importing_holdfast_imports_no_driver_and_no_extra(code: str) -> None:
    own, unwanted = (
        "sqlalchemy_holdfast",
        "MySQLdb _mysql pymysql mysql click rich flask flask_sqlalchemy cryptography",
    )
    unwanted += "".join(f" {own}.{part}" for part in ("lab", "experiments", "cli"))
    code += f"; import sys; print(sorted(set('{unwanted}'.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.slow
@pytest.mark.parametrize(("driver", "package"), [("pymysql", "pymysql"), ("mysqldb", "MySQLdb")])
def test_an_engine_imports_its_own_driver_and_no_other(driver: str, package: str) -> None:
    code = (
        f"from sqlalchemy import create_engine; create_engine('mysql+{driver}://u:p@127.0.0.1/d?plugin=holdfast'); "
        "import sys; print(sorted({'MySQLdb', 'pymysql', 'mysql'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"['{package}']", done.stderr
