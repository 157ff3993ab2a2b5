"""The reference of the command line, made from the parsers.

The one rule: a table, not the help's own text, whose form differs from one Python to the next.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from agent_ws.cli import COMMANDS

HEAD = """\
# Command line

Made from the commands by `tests/docs/write_reference.py`; not to be edited. `agent-ws COMMAND --help` says the same.
Exit status: 0 done, 1 cut short or failed, 2 wrong use, 3 it could not start.
"""


class _Collected:
    """Takes the commands as argparse would."""

    def __init__(self) -> None:
        self.parsers: dict[str, argparse.ArgumentParser] = {}

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:  # noqa: A002 - its name
        del help
        self.parsers[name] = argparse.ArgumentParser(f"agent-ws {name}", description=description)
        return self.parsers[name]


def page() -> str:
    """The page."""
    commands = _Collected()
    for command in COMMANDS:
        command.add(commands)
    return "\n".join([HEAD, *(_section(parser) for parser in commands.parsers.values())])


def _section(parser: argparse.ArgumentParser) -> str:
    actions: Any = parser._actions  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - argparse shows them nowhere else
    rows = [row for action in actions for row in _row(action, parser.prog)]
    table = "\n".join(["| argument | |", "| --- | --- |", *rows])
    return f"## {parser.prog}\n\n{parser.description}\n\n{table}\n"


def _row(action: argparse.Action, prog: str) -> Iterator[str]:
    if action.help in {None, argparse.SUPPRESS} or isinstance(action, argparse._HelpAction):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the same
        return
    if action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = str(action.metavar or action.dest.upper())
    name = (
        f"{action.option_strings[-1]} {value if action.nargs != 0 else ''}".rstrip() if action.option_strings else value
    )
    told = str(action.help) % (vars(action) | {"prog": prog})
    yield "| `{}` | {} |".format(*(cell.replace("|", "\\|") for cell in (name, told)))
