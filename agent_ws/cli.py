"""The command line: `agent-ws serve` and `agent-ws schema`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import AgentWsError
from .settings import Limits, Settings, Timeouts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 done, 2 wrong use, 3 it could not start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (AgentWsError, ValueError) as error:
        print(f"agent-ws: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-ws",
        description="A WebSocket server for agents: live streaming, interrupts that stop, exact resume.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    times, limits = Timeouts(), Limits()

    serve = commands.add_parser(
        "serve",
        help="serve an agent",
        description="Serve an agent: a chat page at /, the WebSocket at /ws, SSE and NDJSON at /api/agent/stream.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    serve.add_argument(
        "agent",
        nargs="?",
        metavar="AGENT",
        help="`module:attribute` of an async function or generator, `anthropic`, or `demo`; default: `anthropic` when "
        "ANTHROPIC_API_KEY is set, else the offline `demo`",
    )
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    serve.add_argument("--port", type=int, default=8000, help="the port; 0 takes a free one")
    serve.add_argument("--store", default="sqlite:agent_ws.db", help="where sessions are kept: sqlite:PATH or memory")
    serve.add_argument(
        "--when-busy",
        choices=("interrupt", "queue", "steer", "reject"),
        default="queue",
        help="what a message does while an answer is going",
    )
    serve.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="a site whose pages may connect, as https://app.example.org; again for more (default: the own page)",
    )
    serve.add_argument(
        "--host-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which the server is addressed; again for more (default: localhost and IP addresses)",
    )
    serve.add_argument(
        "--orphan-after",
        type=float,
        default=times.orphan,
        metavar="S",
        help="seconds that an answer goes on with no client watching",
    )
    serve.add_argument(
        "--run-timeout", type=float, default=times.run, metavar="S", help="seconds that an answer may take"
    )
    serve.add_argument(
        "--silence-timeout",
        type=float,
        default=times.silence,
        metavar="S",
        help="seconds that an agent may be silent, before its first event and between two",
    )
    serve.add_argument(
        "--tool-timeout", type=float, default=times.tool, metavar="S", help="seconds that a tool may take"
    )
    serve.add_argument(
        "--drain", type=float, default=times.drain, metavar="S", help="seconds that answers may go on after SIGTERM"
    )
    serve.add_argument(
        "--message-bytes",
        type=int,
        default=limits.message_bytes,
        metavar="N",
        help="the largest message that a client may send",
    )
    serve.set_defaults(run=_serve)

    schema = commands.add_parser(
        "schema",
        help="write the wire's JSON Schema and AsyncAPI",
        description="Write the schemas of the wire, as this version speaks it.",
    )
    schema.add_argument("folder", nargs="?", type=Path, default=Path("schema"), help="where to (default: schema)")
    schema.set_defaults(run=_schema)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from .agents import resolve  # noqa: PLC0415 - `--help` must not wait for a server's imports
    from .server.serve import serve  # noqa: PLC0415

    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the user's module lies where the user stands
    settings = Settings(
        store=options.store,
        when_busy=options.when_busy,
        origins=tuple(options.origin),
        hosts=tuple(options.host_name),
        timeouts=Timeouts(
            first_event=options.silence_timeout,
            silence=options.silence_timeout,
            run=options.run_timeout,
            tool=options.tool_timeout,
            orphan=options.orphan_after,
            drain=options.drain,
        ),
        limits=Limits(message_bytes=options.message_bytes),
    )
    return serve(resolve(options.agent), settings, host=options.host, port=options.port)


def _schema(options: argparse.Namespace) -> int:
    from .schema import write  # noqa: PLC0415 - `--help` must not wait for it

    for path in write(options.folder):
        print(path)
    return 0
