"""The agents that come along, and how one is named on the command line.

The one rule: an agent is imported only when it is asked for; a provider's library takes longer to import than the
server to start.
"""

import importlib
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from ..turn import Agent


class NoSuchAgent(ValueError):
    """A name that leads to no agent. Its text says what to do about it."""


def chosen(name: str | None) -> str:
    """The name that None stands for: `anthropic` where ANTHROPIC_API_KEY is set, else `demo`."""
    return name or ("anthropic" if os.environ.get("ANTHROPIC_API_KEY") else "demo")


def resolve(name: str | None) -> Agent:
    """The agent that `name` means: `demo`, `obedient`, `anthropic`, `openai`, a GGUF file, or your own
    `module:attribute`.

    For None see `chosen`. Modules are found as Python finds them, and in the current directory. Raises `NoSuchAgent`;
    what your module itself raises while it is imported comes through.
    """
    match chosen(name):
        case "demo":
            from .demo import demo  # noqa: PLC0415 - see the rule above

            return demo
        case "obedient":
            from .obedient import obedient  # noqa: PLC0415 - see the rule above

            return obedient
        case "anthropic":
            from .anthropic import default  # noqa: PLC0415 - see the rule above

            return default()
        case "openai":
            with _extra("openai"):
                from .openai import default  # noqa: PLC0415 - see the rule above

                return default()
        case file if file.endswith(".gguf"):
            with _extra("local", "xllamacpp"):
                from .local import Local  # noqa: PLC0415 - see the rule above

            local = Local(file)
            local.load()
            return local
        case own:
            return _own(own)


@contextmanager
def _extra(name: str, library: str | None = None) -> Generator[None]:
    """Say what to install where the library of an extra is missing, which mostly has the extra's name."""
    library = library or name
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise NoSuchAgent(
            f"expected the library {library}, which is not here: pip install 'agent-ws[{name}]'"
        ) from None


def _own(name: str) -> Agent:
    module_name, colon, path = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise NoSuchAgent(
            "expected an agent `demo`, `anthropic`, `openai`, `./model.gguf` or `module:attribute` (such as "
            f"`my_agents:support`), got {name!r}"
        )
    if module_name.endswith(".py"):
        raise NoSuchAgent(f"expected a module's name, got a file's: write {module_name.removesuffix('.py')}:{path}")
    agent = _attribute(_module(module_name), path)
    if isinstance(agent, type):
        raise NoSuchAgent(
            f"expected {name} to be an agent, got a class: make an instance in {module_name} and name that instead"
        )
    if not callable(agent):
        raise NoSuchAgent(
            f"expected {name} to be an async function or an async generator function that takes a turn, "
            f"got {type(agent).__name__}"
        )
    return cast("Agent", agent)


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # an installed command, other than `python -m`, doesn't look where it is started
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            raise NoSuchAgent(
                f"expected a module {name}, found none called {missing}: looked where Python looks and in {here}"
            ) from None
        raise NoSuchAgent(
            f"The module {name} is there, but it imports {missing}, which is not installed in this environment."
        ) from error


def _attribute(module: ModuleType, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        near = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise NoSuchAgent(
            f"expected {path} in the module {module.__name__}, which has no {error.name}; what can be called there: "
            f"{near or 'nothing'}"
        ) from None
