"""The command line: `agent-ws serve` and `agent-ws schema`."""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from .addresses import network
from .errors import AgentWsError
from .settings import Limits, Settings, Timeouts, WhenBusy

MAX_PORT = 65_535
MAX_SECONDS = 366 * 24 * 3600
"""No system's timers take any number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 done, 1 cut short, 2 wrong use, 3 it could not start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (AgentWsError, ValueError) as error:
        print(f"agent-ws: {error}", file=sys.stderr)
        return 2


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {MAX_PORT}, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_SECONDS:  # neither does NaN pass
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0 and at most {MAX_SECONDS}, got {text!r}")
    return seconds


def _origin(text: str) -> str:
    # It is compared as a whole with what browsers send: one with a path would allow nobody, and say nothing.
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text):
        raise argparse.ArgumentTypeError(f"expected a URL without a path (https://app.example.org), got {text!r}")
    return text


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z._-]+|[0-9A-Fa-f:.]+", text):  # the second: IPv6
        raise argparse.ArgumentTypeError(f"expected a name without a scheme and a port (example.org), got {text!r}")
    return text


def _proxy(text: str) -> str:
    try:
        return str(network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-ws",
        description="A WebSocket server for agents: live streaming, interrupts that stop, exact resume.",
    )
    parser.add_argument("--version", action="version", version=f"agent-ws {version('agent-ws')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    times, limits = Timeouts(), Limits()

    serve = commands.add_parser(
        "serve",
        help="serve an agent",
        description="Serve an agent: a chat page at /, the WebSocket at /ws, SSE and NDJSON at /api/agent/stream.",
    )
    serve.add_argument(
        "agent",
        nargs="?",
        metavar="AGENT",
        help="`module:attribute` of an async function or generator, `anthropic`, or `demo`; default: `anthropic` when "
        "ANTHROPIC_API_KEY is set, else the offline `demo`",
    )
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    add("--port", type=_port, default=8000, help="the port; 0 takes a free one (%(default)s)")
    add("--store", default="sqlite:agent_ws.db", help="where sessions are: sqlite:PATH or memory (%(default)s)")
    policies = get_args(WhenBusy)
    add("--when-busy", choices=policies, default="queue", help="what a message does during an answer (%(default)s)")
    more: dict[str, Any] = {"action": "append", "default": []}
    site = "the only site whose pages may connect, again for more (the own page)"
    add("--origin", **more, type=_origin, metavar="URL", help=site)
    name = "the only name of this server, again for more (localhost and IP addresses)"
    add("--host-name", **more, type=_host_name, metavar="NAME", help=name)
    for option, default, what in (
        ("--idle-after", times.idle, "a connection may be silent on both sides"),
        ("--orphan-after", times.orphan, "an answer goes on with no client watching"),
        ("--run-timeout", times.run, "an answer may take"),
        ("--silence-timeout", times.silence, "an agent may be silent, before its first event and between two"),
        ("--tool-timeout", times.tool, "a tool may take"),
        ("--drain", times.drain, "answers may go on after SIGTERM"),
    ):
        add(option, type=_seconds, default=default, metavar="S", help=f"seconds that {what} (%(default)g)")
    size = "bytes of the largest message that a client may send (%(default)s)"
    add("--message-bytes", type=_count, default=limits.message_bytes, metavar="N", help=size)
    proxy = "a proxy, or a network of them, whose X-Forwarded-For tells the client's address, again for more (nobody's)"
    add("--proxy", **more, type=_proxy, metavar="ADDRESS", help=proxy)
    count = "connections in all (%(default)s)"
    add("--connections", type=_count, default=limits.connections, metavar="N", help=count)
    each = "connections of one address (%(default)s)"
    add("--address-connections", type=_count, default=limits.address_connections, metavar="N", help=each)
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
    from .agents import chosen, resolve  # noqa: PLC0415 - `--help` must not wait for a server's imports
    from .server.serve import serve  # noqa: PLC0415

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
            idle=options.idle_after,
            orphan=options.orphan_after,
            drain=options.drain,
        ),
        proxies=tuple(options.proxy),
        limits=Limits(
            message_bytes=options.message_bytes,
            connections=options.connections,
            address_connections=options.address_connections,
        ),
    )
    name = chosen(options.agent)
    agent = resolve(name)
    hint = " (works offline; set ANTHROPIC_API_KEY to talk to Claude)" if name == "demo" else ""
    print(f"agent: {name}{hint}\nsessions: {options.store}")
    return serve(agent, settings, host=options.host, port=options.port)


def _schema(options: argparse.Namespace) -> int:
    from .schema import write  # noqa: PLC0415 - `--help` must not wait for it

    for path in write(options.folder):
        print(path)
    return 0
