"""Servers that a load is compared with, each a process of its own.

The one rule: a peer does what is asked of it and nothing else. It has no log, no resume, no receipt.
"""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from msgspec import Struct

from ..target import Target

START_S = 20.0


class Peer(Struct, frozen=True):
    """One that can be started."""

    title: str
    module: str
    wire: str
    path: str = "/ws"


OURS = Peer("agent_ws", "own", "agent_ws")
PUSHER = Peer("bare WebSocket pusher", "pusher", "plain")
SSE = Peer("plain SSE endpoint", "sse", "events", "/stream")
PEERS = {"pusher": PUSHER, "sse": SSE}


class DidNotStart(RuntimeError):
    """A process that should serve, and does not."""


class Running(Struct, frozen=True):
    """One that takes connections."""

    pid: int
    target: Target


@asynccontextmanager
async def running(peer: Peer, *arguments: str) -> AsyncGenerator[Running]:
    """Run it inside. Raises `DidNotStart`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"{__name__}.{peer.module}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for who measures
    )
    try:
        yield Running(process.pid, Target("127.0.0.1", await _port(peer, process), peer.path, wire=peer.wire))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _port(peer: Peer, process: asyncio.subprocess.Process) -> int:
    line = b""
    if process.stdout is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
    if (found := re.search(rb"serves on http://127\.0\.0\.1:(\d+)", line)) is None:
        raise DidNotStart(f"expected the {peer.title} to serve within {START_S:g} s, it did not")
    return int(found[1])
