"""`agent-ws serve`: serve an agent."""

import argparse
import ipaddress
from typing import Any, get_args

from ..settings import Limits, Settings, Timeouts, WhenBusy
from . import arguments


def add(commands: arguments.Commands) -> None:
    """Add the command."""
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
        "chat completions, by OPENAI_BASE_URL; a model's file, which runs here (`./model.gguf`); `demo`; or "
        "`obedient`, which does what it is told, for `agent-ws check`. Default: "
        "`anthropic` when ANTHROPIC_API_KEY is set, else the offline `demo`",
    )
    add = serve.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    add("--port", type=arguments.port, default=8000, help="the port; 0 takes a free one (%(default)s)")
    add("--store", default="sqlite:agent_ws.db", help="where sessions are: sqlite:PATH or memory (%(default)s)")
    policies = get_args(WhenBusy)
    add("--when-busy", choices=policies, default="queue", help="what a message does during an answer (%(default)s)")
    more: dict[str, Any] = {"action": "append", "default": []}
    site = "the only site whose pages may connect, again for more (the own page)"
    add("--origin", **more, type=arguments.origin, metavar="URL", help=site)
    name = "the only name of this server, again for more (localhost and IP addresses)"
    add("--host-name", **more, type=arguments.host_name, metavar="NAME", help=name)
    login = serve.add_mutually_exclusive_group()
    file = "want a login: bearer tokens, by a file that `agent-ws token` wrote; it is read again when it changes"
    login.add_argument("--tokens", type=arguments.file, metavar="FILE", help=file)
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
        add(option, type=arguments.seconds, default=default, metavar="S", help=f"seconds that {what} (%(default)g)")
    size = "bytes of the largest message that a client may send (%(default)s)"
    add("--message-bytes", type=arguments.count, default=limits.message_bytes, metavar="N", help=size)
    proxy = "a proxy, or a network of them, whose X-Forwarded-For tells the client's address, again for more (nobody's)"
    add("--proxy", **more, type=arguments.proxy, metavar="ADDRESS", help=proxy)
    count = "connections in all (%(default)s)"
    add("--connections", type=arguments.count, default=limits.connections, metavar="N", help=count)
    each = "connections of one address (%(default)s)"
    add("--address-connections", type=arguments.count, default=limits.address_connections, metavar="N", help=each)
    serve.set_defaults(run=_run)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may mean any address, and an empty one means all


def _run(options: argparse.Namespace) -> int:
    if not (options.tokens or options.no_login or _is_loopback(options.host)):
        raise ValueError(
            f"expected a login where others can reach the server (--host {options.host!r}), got none: make a token "
            "with `agent-ws token NAME >> FILE` and add `--tokens FILE`; or add `--no-login`, where whoever can reach "
            "it may use it"
        )
    from ..agents import chosen, resolve  # noqa: PLC0415 - `--help` must not wait for a server's imports
    from ..server.serve import serve  # noqa: PLC0415

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
