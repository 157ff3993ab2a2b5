"""A client that looks on at a session, and records what it is told.

The one rule: it says nothing but `hello`.
"""

import asyncio

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from ..recording import LOST, Closed, FromClient, FromServer, Opened, form
from .client import MESSAGE_BYTES
from .proxy import Notes
from .url import Url

OPEN_S = 10.0


async def watch(server: Url, session: str, token: str, notes: Notes) -> None:
    """Record a session from its start, until the server ends the connection. Cancel it to leave.

    token: the session's, or a bearer token where the server wants a login; "" for none. Raises `OSError` where the
    server can't be reached, `websockets.exceptions.InvalidHandshake` where it refuses, and `ValueError` for a session
    that is none of this token's.
    """
    login = {"Authorization": f"Bearer {token}"} if token else None
    async with connect(
        server.websocket,
        additional_headers=login,
        compression=None,
        proxy=None,
        max_size=MESSAGE_BYTES,
        ssl=server.context,
        open_timeout=OPEN_S,
    ) as socket:
        hello = {"type": "hello", "session": session} | ({"token": token} if token else {})
        said = msgspec.json.encode(hello).decode()
        await socket.send(said)
        first = await socket.recv()
        if form(first, binary=False).get("frame", b"") and msgspec.json.decode(first)["type"] != "session":
            raise ValueError(f"expected a session of this token's, got {session!r}, which is none: --token TOKEN")
        c = notes.begin()
        notes.add(Opened(notes.now, c, "/ws", socket.subprotocol or ""))
        notes.add(FromClient(notes.now, c, **notes.secrets.form(said, "")))
        notes.add(FromServer(notes.now, c, **notes.secrets.form(first, "")))
        try:
            async for message in socket:
                notes.add(FromServer(notes.now, c, **notes.secrets.form(message, "")))
        except ConnectionClosed:
            pass
        except asyncio.CancelledError:
            notes.add(Closed(notes.now, c, "client", 1000))
            raise
        notes.add(Closed(notes.now, c, "server", socket.close_code or LOST, socket.close_reason or ""))
