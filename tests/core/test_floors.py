"""The floors of DESIGN.md: a module imports only from floors below its own, or from its own floor without a cycle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "agent_ws"

FLOORS = (
    ("addresses", "census", "errors", "events", "journal", "lag", "life", "rates", "settings", "tasks"),
    ("fold", "history", "log", "brackets", "streams", "recording"),
    ("writer", "run", "stores"),
    ("turn", "attempts", "tools", "agents", "sections", "session", "sessions"),
    ("frames", "cursor", "connection", "dialects", "schema"),
    ("client", "server"),
    ("testing",),
    ("load", "recordings", "scenarios", "terminal"),
    ("conformance",),
    ("cli", "__main__"),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}
"""Dotted name inside the package to file."""


def imports(module: str) -> set[str]:
    """The modules of ours that a module imports, also inside functions."""
    path = MODULES[module]
    package = [*module.split(".")] if path.name == "__init__.py" else module.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=name, level=level, names=names) if level:
                base = [*package[: len(package) - level + 1], *(name.split(".") if name else [])]
                targets = [".".join([*base, alias.name]) for alias in names if alias.name != "__file__"]
                found |= {target if target in MODULES else ".".join(base) for target in targets}
            case ast.ImportFrom(module=str(name)) if name.split(".")[0] == "agent_ws":
                found.add(name.removeprefix("agent_ws").removeprefix("."))
            case ast.Import(names=names):
                found |= {a.name.removeprefix("agent_ws.") for a in names if a.name.startswith("agent_ws.")}
            case _:
                pass
    return found - {module}


def test_every_module_has_a_floor() -> None:
    assert {module.split(".")[0] for module in MODULES} <= set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_floors_below_or_beside_it(module: str) -> None:
    if module == "__main__":
        return  # it starts the program, wherever that is
    own = FLOOR[module.partition(".")[0]]
    above = {name for name in imports(module) if name and FLOOR[name.split(".")[0]] > own}
    assert not above, f"{module} is on floor {own}"
    assert "" not in imports(module), "the package itself is above everything"


def test_there_is_no_cycle() -> None:
    graph = {module: imports(module) for module in MODULES}
    # A package and its parts are one thing to importers outside it, and the package imports its parts.
    outside = {module: {name for name in of if not module.startswith(f"{name}.")} for module, of in graph.items()}
    TopologicalSorter(outside).prepare()  # raises CycleError


def test_importing_the_package_imports_no_provider_and_no_client() -> None:
    names = ("anthropic", "openai", "httpx2", "websockets", "agent_ws.client", "rich")
    check = f"import agent_ws, sys; print(*(m for m in {names} if m in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert found.stdout.split() == []
