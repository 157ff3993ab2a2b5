"""`agent-ws chat`: talk to an agent in a terminal, or ask over a pipe."""

import argparse
import asyncio
import os
import shutil
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from .arguments import Commands

if TYPE_CHECKING:
    from ..client import Client

DEFAULT_URL = "http://127.0.0.1:8000"
NEWEST = ""
"""What `--session` without a name means."""


def add(commands: Commands) -> None:
    """Add the command."""
    chat = commands.add_parser(
        "chat",
        help="talk to an agent in a terminal",
        description="Talk to an agent in a terminal. `echo hi | agent-ws chat` prints the answer alone. Exit status: 0 "
        "answered or left, 1 cut short or refused, 2 wrong use, 3 the server was not reached.",
    )
    chat.add_argument("url", nargs="?", default=DEFAULT_URL, help="the server (%(default)s)")
    back = "come back to a conversation; without a name to the newest one with this server"
    chat.add_argument("--session", nargs="?", const=NEWEST, metavar="ID", help=back)
    login = "a bearer token, where the server wants a login; better in AGENT_WS_TOKEN, where others can't see it"
    chat.add_argument("--token", metavar="TOKEN", help=login)
    chat.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    # What isn't a terminal asks once.
    typed = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        import_module(f"agent_ws.terminal.{'screen' if typed else 'pipe'}")  # before anything begins
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in {"rich", "prompt_toolkit", "markdown_it"}:
            raise
        raise ValueError(f"expected the library {library}, which is not here: pip install 'agent-ws[cli]'") from None
    try:
        # Read to its end before there is a loop: a thread that reads can't be called back.
        return asyncio.run(_chat(options, None if typed else _message()))
    except KeyboardInterrupt:
        return 1


def _message() -> str:
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"expected a message in UTF-8, got something else at byte {error.start}") from None
    if not text.strip():
        raise ValueError("expected a message on the standard input, got nothing")
    return text.rstrip("\r\n")


async def _chat(options: argparse.Namespace, message: str | None) -> int:
    from ..client import Closed, connect  # noqa: PLC0415 - `--help` must not wait for it
    from ..terminal import kept  # noqa: PLC0415

    back = kept.find(options.url, options.session or None) if options.session is not None else None
    if options.session == NEWEST and back is None:
        raise ValueError(f"expected a conversation with {options.url} to come back to, found none: leave --session out")
    client = connect(
        options.url,
        bearer=options.token or os.environ.get("AGENT_WS_TOKEN") or None,
        session=back.session if back else options.session,
        token=back.token if back else None,
    )
    try:
        await client.__aenter__()
    except Closed as error:
        print(f"agent-ws: no conversation with {options.url}: {error}", file=sys.stderr)
        return 3
    try:
        kept.keep(options.url, client.session or "", client.token)
        return await (_talk(client, options.url) if message is None else _ask(client, message))
    finally:
        await client.close()


async def _ask(client: "Client", message: str) -> int:
    from ..terminal.pipe import Pipe  # noqa: PLC0415 - `--help` must not wait for it

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return await Pipe(client, columns).ask(message)


async def _talk(client: "Client", url: str) -> int:
    from ..client import Ended  # noqa: PLC0415 - `--help` must not wait for it
    from ..terminal.screen import Screen  # noqa: PLC0415

    screen = Screen(client)
    status = await screen.run()
    with suppress(OSError):  # the terminal may be gone
        print(screen.rest(shutil.get_terminal_size().columns), end="")
        if not isinstance(client.state, Ended):
            print(f"To come back: agent-ws chat {url} --session {client.session}")
    return status
