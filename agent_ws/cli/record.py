"""`agent-ws record`: record what a client and a server say to each other."""

import argparse
import asyncio
import signal
import sys
import time

from . import arguments


def add(commands: arguments.Commands) -> None:
    """Add the command."""
    record = commands.add_parser(
        "record",
        help="record what a client and a server say to each other",
        description="Record what passes between any client and a server by WebSocket: clients connect here. Tokens and "
        "tickets are not in the recording; what people say is. `agent-ws replay` plays it.",
    )
    record.add_argument("file", metavar="FILE", type=arguments.file, help="the recording: a new file")
    add = record.add_argument
    server = "the server (%(default)s)"
    add("server", nargs="?", metavar="URL", default="http://127.0.0.1:8000", help=server)
    add("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    add("--port", type=arguments.port, default=8001, help="the port; 0 takes a free one (%(default)s)")
    record.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return asyncio.run(_pass_on(options))


async def _pass_on(options: argparse.Namespace) -> int:
    from ..recording import File  # noqa: PLC0415 - `--help` must not wait for it
    from ..recordings import Proxy, Url  # noqa: PLC0415

    server = Url.parse(options.server)
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    with File(options.file, "proxy", time.time()) as file:
        proxy = Proxy(server, file, _tell, host=options.host, port=options.port)
        try:
            await proxy.listen()
        except OSError as error:
            file.drop()
            print(f"agent-ws: can't listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
            return 3
        async with proxy:
            print(
                f"agent-ws records {server} on http://{options.host}:{proxy.port} into {options.file} (Ctrl-C ends it)",
                flush=True,
            )
            await stop.wait()
        print(f"{proxy.notes.connections} connections, {file.lines} lines")
    return 1 if proxy.notes.broken else 0


def _tell(line: str) -> None:
    print(line, flush=True)
