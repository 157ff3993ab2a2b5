"""`agent-ws record`: record what a client and a server say to each other."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from . import arguments, ending


def add(commands: arguments.Commands) -> None:
    """Add the command."""
    record = commands.add_parser(
        "record",
        help="record what a client and a server say to each other",
        description="Record what passes between any client and a server by WebSocket: clients connect here. Or, with "
        "--session, what a session's log has. Tokens and tickets are not in the recording; what people say is. "
        "`agent-ws replay` plays it.",
    )
    record.add_argument("file", metavar="FILE", type=arguments.file, help="the recording: a new file")
    add = record.add_argument
    server = "the server (%(default)s)"
    add("server", nargs="?", metavar="URL", default="http://127.0.0.1:8000", help=server)
    add("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    add("--port", type=arguments.port, default=8001, help="the port; 0 takes a free one (%(default)s)")
    session = "no proxy: look on at this session, from its start until Ctrl-C"
    add("--session", metavar="ID", type=arguments.file, help=session)
    token = "with --session: its token, or a bearer token where the server wants a login"  # noqa: S105 - a help text
    add("--token", default="", metavar="TOKEN", help=token)
    store = "with --session: take it from this store (sqlite:PATH) and not from a server, which has to be stopped"
    add("--store", metavar="STORE", help=store)
    record.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.session is None:
        return asyncio.run(_pass_on(options))
    return asyncio.run(_look_on(options) if options.store is None else _take(options))


async def _pass_on(options: argparse.Namespace) -> int:
    from ..recording import File  # noqa: PLC0415 - `--help` must not wait for it
    from ..recordings import Proxy, Url  # noqa: PLC0415

    server, stop = Url.parse(options.server), ending.asked()
    with File(options.file, "proxy", time.time()) as file:
        proxy = Proxy(server, file, _tell, host=options.host, port=options.port)
        try:
            await proxy.listen()
        except OSError as error:
            file.drop()
            print(f"agent-ws: can't listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
            return 3
        async with proxy:
            _tell(
                f"agent-ws records {server} on http://{options.host}:{proxy.port} into {options.file} (Ctrl-C ends it)"
            )
            await stop.wait()
        print(f"connections: {proxy.notes.connections}, lines: {file.lines}")
    return 1 if proxy.notes.broken else 0


async def _look_on(options: argparse.Namespace) -> int:
    from websockets.exceptions import InvalidHandshake  # noqa: PLC0415 - `--help` must not wait for it

    from ..recording import File  # noqa: PLC0415
    from ..recordings import Notes, Url, watch  # noqa: PLC0415

    server = Url.parse(options.server)
    with File(options.file, "watch", time.time()) as file:
        notes = Notes(file, _tell)
        # Both are ended below, whichever is first.
        watching = asyncio.ensure_future(watch(server, options.session, options.token, notes))
        stopped = asyncio.ensure_future(ending.asked().wait())
        _tell(f"agent-ws looks on at {options.session} on {server}, into {options.file} (Ctrl-C ends it)")
        await asyncio.wait((watching, stopped), return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        stopped.cancel()
        try:
            await watching
        except asyncio.CancelledError:
            pass
        except (OSError, InvalidHandshake) as error:
            file.drop()
            print(f"agent-ws: can't look on at {server}: {error}", file=sys.stderr)
            return 3
        except ValueError:
            file.drop()
            raise
        print(f"lines: {file.lines}")
    return 1 if notes.broken else 0


async def _take(options: argparse.Namespace) -> int:
    from ..recording import File  # noqa: PLC0415 - `--help` must not wait for it
    from ..recordings import log  # noqa: PLC0415
    from ..stores import open_store  # noqa: PLC0415

    engine, _, path = options.store.partition(":")
    if engine == "sqlite" and not Path(path).expanduser().is_file():  # noqa: ASYNC240 - nothing else runs yet
        raise ValueError(f"expected a store that is there, got {options.store!r}")
    store = open_store(options.store)
    await store.open()
    try:
        saved = await store.load(options.session)
    finally:
        await store.close()
    if saved is None:
        raise ValueError(f"expected a session of {options.store}, got {options.session!r}, which is none")
    with File(options.file, "log", log.begun(saved)) as file:
        file.add(log.lines(saved))
        print(f"events: {len(saved.events)}, lines: {file.lines}")
    return 0


def _tell(line: str) -> None:
    print(line, flush=True)
