"""Scenario files: YAML, one scenario or several with `---` between them.

The one rule: whatever is wrong is told with file and line, before anything is played. Only `true` and `false` are
booleans: YAML's old `no`, `on` and `off` are words.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from msgspec import Struct

from ..errors import AgentWsError
from .steps import Scenario, Step, step_of

SUFFIX = ".scenario.yaml"


class BadScenario(AgentWsError):
    """A file that is no scenario. Says where, what was expected and what came."""


class Line(Struct, frozen=True):
    """A step, and where it stands."""

    step: Step
    line: int


class Script(Struct, frozen=True):
    """A scenario that can be played."""

    path: str
    line: int
    """Where it begins."""
    head: Scenario
    steps: tuple[Line, ...]

    @property
    def title(self) -> str:
        return self.head.scenario


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as far as anybody means it: no octal numbers, dates and yes-or-no words, and no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - its form
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"expected each key once, got {key.value!r} twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_untyped: Any = _Loader  # the library has no types for this part
_untyped.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"~|null|", "~n\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
):
    _untyped.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_untyped.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])


def read(path: Path) -> list[Script]:
    """The scenarios of a file. Raises `BadScenario`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise BadScenario(f"{path}: expected a scenario file, got none that can be read: {error}") from None
    return parse(text, str(path))


def parse(text: str, path: str = "scenario") -> list[Script]:
    """The scenarios of a text, told as `path`. Raises `BadScenario`."""
    try:
        scripts = [_script(loader, node, path) for loader, node in _documents(text)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark is not None else path
        raise BadScenario(f"{where}: {error.problem or error.context or 'expected YAML'}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, BadScenario):
            raise
        raise BadScenario(f"{path}: expected YAML, got something else: {error}") from None
    if not scripts:
        raise BadScenario(f"{path}: expected a scenario, got an empty file")
    return scripts


def _documents(text: str) -> Iterator[tuple[Any, Any]]:
    loader: Any = _Loader(text)
    try:
        while loader.check_node():
            yield loader, loader.get_node()
    finally:
        loader.dispose()


def _script(loader: Any, node: Any, path: str) -> Script:
    line: int = node.start_mark.line + 1
    data: Any = loader.construct_document(node)
    if not isinstance(data, dict):
        raise BadScenario(f"{path}:{line}: expected `scenario:` and `steps:`, got {data!r}")
    try:
        head = msgspec.convert(data, Scenario)
    except msgspec.ValidationError as error:
        raise BadScenario(f"{path}:{_line_of(node, str(error))}: {str(error)[0].lower()}{str(error)[1:]}") from None
    lines: list[int] = [item.start_mark.line + 1 for item in _child(node, "steps").value]
    steps: list[Line] = []
    for number, fields in zip(lines, cast("list[dict[str, Any]]", data["steps"]), strict=True):
        try:
            steps.append(Line(step_of(fields), number))
        except ValueError as error:
            raise BadScenario(f"{path}:{number}: {error}") from None
    return Script(path, line, head, tuple(steps))


def _child(node: Any, key: str) -> Any:
    return next((value for name, value in node.value if name.value == key), node)


def _line_of(node: Any, error: str) -> int:
    """Where an error's own path (`$.steps[3].x`) leads, as far as it does."""
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", error.rpartition("`$")[2]):
        if key and isinstance(node, yaml.MappingNode):
            node = _child(node, key)
        elif index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
            node = node.value[int(index)]
    return node.start_mark.line + 1
