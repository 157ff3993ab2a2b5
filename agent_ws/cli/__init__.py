"""The command line: `agent-ws COMMAND`.

The one rule: a command is a module, with `add` for its arguments; it imports its work when it runs, so that `--help`
waits for nothing.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from ..errors import AgentWsError
from . import bench, chat, check, play, record, replay, schema, serve, token

COMMANDS = (serve, token, chat, play, check, record, replay, bench, schema)
"""As `--help` lists them. `add(commands)` of each adds a parser whose default `run` takes the options and returns the
exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 done, 1 cut short, 2 wrong use, 3 it could not start."""
    parser = argparse.ArgumentParser(
        prog="agent-ws",
        description="A WebSocket server for agents: live streaming, interrupts that stop, exact resume.",
    )
    parser.add_argument("--version", action="version", version=f"agent-ws {version('agent-ws')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:
        # Who read the output has left (`| head`): Python would say so again when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (AgentWsError, ValueError) as error:
        print(f"agent-ws: {error}", file=sys.stderr)
        return 2
