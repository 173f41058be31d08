"""Measure the structure of the package: rooms, arrows, circles, functions, docstrings.

    python tools/architecture.py [FOLDER]     the package's folder; default: src/sqlalchemy_holdfast

A room is a module or a package at the top; an arrow is an import between two of them; a floor is a layer of the rooms
when each stands on those that it imports; a circle is a set of rooms that cannot be put in such an order.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
LEFT_OUT = {"_version", "__init__", "__main__", "lab", "experiments", "cli"}
"""Not the core: what stands on top of it, and what only hands names on."""


def imports(path: Path, package: Path) -> Iterator[str]:
    """Yield the package's own modules that a file imports, as dotted names within the package."""
    own = list(path.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (".".join(name[1:]) for name in names if name[0] == package.name and len(name) > 1)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = own[: len(own) - node.level + 1]
            elif node.module and node.module.split(".")[0] == package.name:
                base = []
            else:
                continue
            module = (node.module or "").split(".") if node.level or not node.module else node.module.split(".")[1:]
            base = [*base, *(part for part in module if part)]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def rooms(package: Path) -> dict[str, set[str]]:
    """Return the rooms of the core, and which others each imports."""
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).with_suffix("").parts[0]
        if room not in LEFT_OUT:
            used = {name.partition(".")[0] for name in imports(path, package)}
            found.setdefault(room, set()).update(used - {room})
    return {room: {other for other in used if other in found} for room, used in found.items()}


def floors(arrows: dict[str, set[str]]) -> tuple[int, int]:
    """Return how many layers the rooms make, and how many rooms are in a circle."""
    placed: dict[str, int] = {}
    while True:
        ready = [room for room in arrows if room not in placed and arrows[room] <= placed.keys()]
        if not ready:
            break
        for room in ready:
            placed[room] = 1 + max((placed[other] for other in arrows[room]), default=0)
    return max(placed.values(), default=0), len(arrows) - len(placed)


def public(node: ast.AST) -> bool:
    """Say whether a name is anybody's to use."""
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
        return False
    return not any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def is_check(node: ast.stmt) -> bool:
    """A check of the doctor has its title and its explanation in its decorator, for the documentation."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(isinstance(call, ast.Call) and ast.unparse(call.func) == "check" for call in decorators)


def overrides(node: ast.AST, tree: ast.ClassDef) -> bool:
    """A method of a class that has a base other than object may have its docstring there."""
    return isinstance(node, ast.FunctionDef) and bool(tree.bases)


def main() -> None:
    """Print the measurements."""
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "src" / "sqlalchemy_holdfast"
    arrows = rooms(package)
    levels, circular = floors(arrows)
    lengths, explained, all_public, protocols, bare = [], 0, 0, [], []
    annotations, anything = 0, 0
    modules = [
        path for path in package.rglob("*.py") if path.relative_to(package).with_suffix("").parts[0] not in LEFT_OUT
    ]
    for path in modules:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
                for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                    if argument.annotation is not None:
                        annotations += 1
                        anything += ast.unparse(argument.annotation) == "Any"
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases):
                protocols.append(node.name)
        for node in tree.body:
            if public(node):
                all_public += 1
                told = ast.get_docstring(node) is not None or is_check(node)  # type: ignore[arg-type]
                explained += told
                if not told:
                    bare.append(f"{path.name}: {node.name}")  # type: ignore[attr-defined]
            if isinstance(node, ast.ClassDef) and public(node):
                for inner in node.body:
                    if public(inner) and not overrides(inner, node):
                        all_public += 1
                        explained += ast.get_docstring(inner) is not None  # type: ignore[arg-type]
                        if ast.get_docstring(inner) is None:  # type: ignore[arg-type]
                            bare.append(f"{path.name}: {node.name}.{inner.name}")  # type: ignore[attr-defined]
    lengths.sort()
    print(f"rooms at the top          {len(arrows)}: {' '.join(sorted(arrows))}")
    print(f"arrows between them       {sum(map(len, arrows.values()))}")
    print(f"floors                    {levels}")
    print(f"rooms in a circle         {circular}")
    print(f"modules, lines            {len(modules)}, {sum(len(path.read_text().splitlines()) for path in modules)}")
    print(f"longest module            {max((len(path.read_text().splitlines()), path.name) for path in modules)}")
    print(f"Protocols                 {len(protocols)}: {' '.join(sorted(protocols))}")
    print(f"function length           median {statistics.median(lengths):g}, p90 {lengths[len(lengths) * 9 // 10]}")
    print(f"public, with a docstring  {explained} of {all_public}")
    for name in bare:
        print(f"  without: {name}")
    print(f"parameters typed Any      {anything / annotations:.0%} of {annotations}")


if __name__ == "__main__":
    main()
