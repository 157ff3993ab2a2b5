"""What a page tells its reader to do to the machine: looked at, not done.

The one rule: each names something that this project has, or the page is wrong.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence

import yaml
from pages import ROOT


def _pip(words: list[str], where: str) -> None:
    """`pip install '.[cli]'`: the extras are ours."""
    assert words[0] == "install", f"{where}: expected `pip install`, got {words}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [re.fullmatch(r"(\.|agent-ws)(?:\[([a-z,]+)\])?", word) for word in words[1:] if not word.startswith("-")]
    assert named, f"{where}: expected what to install"
    for found in named:
        assert found is not None, f"{where}: expected this project, got {words}"
        extras = set((found[2] or "").split(",")) - {""}
        assert extras <= set(project["optional-dependencies"]), f"{where}: expected extras that there are, got {extras}"


def _npm(words: list[str], where: str) -> None:
    """`npm install agent-ws-client`: the package is ours."""
    name = json.loads((ROOT / "web" / "client" / "package.json").read_text())["name"]
    assert words == ["install", name], f"{where}: expected `npm install {name}`, got {words}"


def _make(words: list[str], where: str) -> None:
    """`make test`: there is such a target."""
    makefile = (ROOT / "Makefile").read_text()
    for target in (word for word in words if "=" not in word):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{where}: expected a target, got {target}"


def _docker(words: list[str], where: str) -> None:
    """`docker compose up`: there is a file for it."""
    assert words[:2] == ["compose", "up"], f"{where}: expected `docker compose up`, got {words}"
    assert yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def command_of(words: Sequence[str]) -> Sequence[str] | None:
    """What a Makefile's target comes to, where that can be typed here: `make run` is `agent-ws serve`."""
    recipe = re.search(r"^run: .*\n\t\$\(BIN\)/(.*) \$\(ARGS\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return recipe[1].split() if recipe and [*words] == ["make", "run"] else None


LOOKED_AT: Mapping[str, Callable[[list[str], str], None]] = {
    "pip": _pip,
    "npm": _npm,
    "make": _make,
    "docker": _docker,
}
"""By program: called with its arguments and the block's place. Raises `AssertionError`."""
