"""The command line: `agent-ws serve`, `agent-ws token` and `agent-ws schema`."""

import argparse
import ipaddress
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
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


def _expires(text: str) -> datetime:
    from .server.tokens import moment  # noqa: PLC0415 - `--help` must not wait for a server's imports

    now = datetime.now(UTC)
    span = re.fullmatch(r"([0-9]{1,5})([dh])", text)
    try:
        when = now + timedelta(hours=int(span[1]) * (24 if span[2] == "d" else 1)) if span else moment(text)
    except ValueError:
        when = now
    if when <= now:
        raise argparse.ArgumentTypeError(f"expected 90d, 12h or a time to come (2027-01-31T12:00:00Z), got {text!r}")
    return when


def _file(text: str) -> str:
    if not text:  # a variable that is not set must not turn the login off
        raise argparse.ArgumentTypeError("expected the path of a file, got an empty text")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may mean any address, and an empty one means all


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
        help="`module:attribute` of an async function or generator; `anthropic`; `openai`, also for other servers of "
        "chat completions, by OPENAI_BASE_URL; a model's file, which runs here (`./model.gguf`); or `demo`. Default: "
        "`anthropic` when ANTHROPIC_API_KEY is set, else the offline `demo`",
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
    login = serve.add_mutually_exclusive_group()
    file = "want a login: bearer tokens, by a file that `agent-ws token` wrote; it is read again when it changes"
    login.add_argument("--tokens", type=_file, metavar="FILE", help=file)
    anybody = "let in whoever can reach the server, also where --host is not this machine alone"
    login.add_argument("--no-login", action="store_true", help=anybody)
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

    token = commands.add_parser(
        "token",
        help="make a bearer token for `serve --tokens`",
        description="Make a bearer token. Prints the line for the tokens file, which can't be turned back into the "
        "token, and on the error output the token itself, this once: agent-ws token alice >> tokens",
    )
    token.add_argument("name", metavar="NAME", help="whose token: sessions belong to this name")
    until = "when it ends: 90d, 12h, or 2027-01-31T12:00:00Z (never)"
    token.add_argument("--expires", type=_expires, metavar="WHEN", help=until)
    token.set_defaults(run=_token)

    schema = commands.add_parser(
        "schema",
        help="write the wire's JSON Schema and AsyncAPI",
        description="Write the schemas of the wire, as this version speaks it.",
    )
    schema.add_argument("folder", nargs="?", type=Path, default=Path("schema"), help="where to (default: schema)")
    schema.set_defaults(run=_schema)
    return parser


def _serve(options: argparse.Namespace) -> int:
    if not (options.tokens or options.no_login or _is_loopback(options.host)):
        raise ValueError(
            f"expected a login where others can reach the server (--host {options.host!r}), got none: make a token "
            "with `agent-ws token NAME >> FILE` and add `--tokens FILE`; or add `--no-login`, where whoever can reach "
            "it may use it"
        )
    from .agents import chosen, resolve  # noqa: PLC0415 - `--help` must not wait for a server's imports
    from .server.serve import serve  # noqa: PLC0415

    settings = Settings(
        store=options.store,
        when_busy=options.when_busy,
        origins=tuple(options.origin),
        hosts=tuple(options.host_name),
        tokens=options.tokens or "",
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


def _token(options: argparse.Namespace) -> int:
    from .server.tokens import fresh  # noqa: PLC0415 - `--help` must not wait for a server's imports

    token, line = fresh(options.name, options.expires)
    print(line)
    print(f"The token of {options.name}, shown this once: {token}", file=sys.stderr)
    return 0


def _schema(options: argparse.Namespace) -> int:
    from .schema import write  # noqa: PLC0415 - `--help` must not wait for it

    for path in write(options.folder):
        print(path)
    return 0
