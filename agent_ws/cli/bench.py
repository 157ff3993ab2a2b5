"""`agent-ws bench`: put a server under load."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from . import arguments

NO_SERVER = 3
CUT_SHORT = 1


def add(commands: arguments.Commands) -> None:
    """Add the command."""
    bench = commands.add_parser(
        "bench",
        help="put a server under load, and measure it",
        description="Put a server under load: users who say messages when they are due, whether the server is ready or "
        "not, stop some answers and lose some connections. Serve the agent that the load is made for with `agent-ws "
        "serve agent_ws.load.work:agent`; any other one will do, but when its tokens are due, nobody knows.",
    )
    add = bench.add_argument
    add("url", nargs="?", metavar="URL", help="the server (default: one that is started for it, everything on)")
    for option, kind, default, what in (
        ("--connections", arguments.count, 50, "users, with a connection each"),
        ("--rate", arguments.rate, 50.0, "tokens a second of an answer"),
        ("--tokens", arguments.count, 100, "tokens of an answer"),
        ("--think", arguments.seconds, 1.0, "seconds from an answer to the next message, on average"),
        ("--interrupts", arguments.share, 0.1, "share of the answers that are stopped, at any moment of theirs"),
        ("--reconnects", arguments.share, 0.05, "share of the answers during which the connection is lost"),
        ("--seconds", arguments.seconds, 10.0, "seconds that are measured"),
        ("--seed", arguments.count, 1, "of all that is random"),
    ):
        add(option, type=kind, default=default, metavar="N", help=f"{what} (%(default)s)")
    warm = "seconds of load before it is measured; in the first half the users connect (an answer, but 2 at least)"
    add("--warm", type=arguments.seconds, metavar="N", help=warm)
    workers = "processes that the users are in (half of the cores)"
    add("--workers", type=arguments.count, metavar="N", help=workers)
    add("--message", metavar="TEXT", help="what is said to an agent that is not the load's own")
    login = "a bearer token, where the server wants a login (better: AGENT_WS_TOKEN in the environment)"
    add("--token", default=os.environ.get("AGENT_WS_TOKEN"), help=login)
    peer = "put a plain SSE endpoint and a bare WebSocket pusher under the same load, for the ratio"
    add("--peer", action="store_true", help=peer)
    provider = "let the server that is started have its tokens from a provider's process, as real agents do"
    add("--provider", action="store_true", help=provider)
    add("--json", type=Path, metavar="FILE", help="write all figures; - is the output, instead of the table")
    add("--html", type=Path, metavar="FILE", help="write a page with plots, which needs nothing beside it")
    bench.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    # `--help` must not wait for these.
    import asyncio  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415

    if missing := [name for name in ("psutil", "rich") if find_spec(name) is None]:
        raise ValueError(f"expected {' and '.join(missing)}, which is not here: pip install 'agent-ws[cli]'")
    import msgspec  # noqa: PLC0415

    from ..load import bench, page, screen  # noqa: PLC0415
    from ..load.peers import DidNotStart  # noqa: PLC0415
    from ..load.plan import Plan  # noqa: PLC0415
    from ..load.probe import NoServer  # noqa: PLC0415
    from ..load.run import processes  # noqa: PLC0415
    from ..load.target import target  # noqa: PLC0415

    given: dict[str, Any] = {name: getattr(options, name) for name in ("connections", "rate", "tokens", "think")}
    plan = Plan(
        **given,
        interrupts=options.interrupts,
        drops=options.reconnects,
        seconds=options.seconds,
        warm=options.warm or max(2.0, options.tokens / options.rate),
        message=options.message,
        seed=options.seed,
    )
    if options.url and options.provider:
        raise ValueError("expected --provider without a URL: the server there has its own agent, got both")
    for file in (options.json, options.html):
        if file is not None and not file.parent.is_dir():  # told now, and not when all is measured
            raise ValueError(f"expected a file in a folder that is there, got {str(file)!r}")
    server = target(options.url, options.token) if options.url else None
    workers = processes(options.workers)
    what = bench.Bench(plan=plan, target=server, workers=workers, peer=options.peer, provider=options.provider)
    try:
        with screen.Course() as course:
            found = asyncio.run(bench.bench(what, course))
    except (NoServer, DidNotStart) as error:
        print(f"agent-ws: {error}", file=sys.stderr)
        return NO_SERVER
    except asyncio.CancelledError:
        print("agent-ws: stopped before anything was measured", file=sys.stderr)
        return CUT_SHORT
    data = msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"
    if options.json is not None and str(options.json) == "-":
        sys.stdout.write(data)
    else:
        screen.show(found)
        if options.json is not None:
            options.json.write_text(data)
    if options.html is not None:
        options.html.write_text(page.page(found), encoding="utf-8")
    return CUT_SHORT if found.cut else 0
