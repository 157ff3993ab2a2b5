"""Frames over a WebSocket.

The one rule: it tells of its end once, and of nothing after it was dropped. Nothing here decides whether to come back.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ..frames import JSON, ClientFrame
from ..tasks import Tasks
from .codes import LOST, REFUSALS
from .core import Ending
from .incoming import Incoming, decode

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.http11 import Response

FRAME_BYTES = 16 * 1024 * 1024
"""One frame of the server's: an event with a big tool input. Beyond it the connection is closed with 1009."""
GOODBYE_S = 2.0
"""For what was said before leaving, and the closing handshake: a dead link would hold both for minutes."""


class Listener(NamedTuple):
    """Who is told what becomes of a connection."""

    opened: Callable[[], None]
    frame: Callable[[Incoming], None]
    closed: Callable[[Ending], None]


class Transport(Protocol):
    """One connection."""

    def send(self, frame: ClientFrame) -> None:
        """Send behind what was sent before; to a connection that is gone, nothing."""
        ...

    def drop(self) -> None:
        """Send what is left, close, and tell nothing more."""
        ...

    async def gone(self) -> None:
        """Wait until it is closed. Where it was dropped, that takes `GOODBYE_S` at most."""
        ...


def address(url: str) -> str:
    """Where the WebSocket of the server at `url` is: `https://host/path`, `wss://host/path/ws`. Raises `ValueError`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"expected a server's URL (http://127.0.0.1:8000), got {url!r}")
    path = parts.path.removesuffix("/").removesuffix("/ws")
    return urlunsplit((scheme, parts.netloc, f"{path}/ws", "", ""))


class WebSocket:
    """A connection to `url`, which begins at once."""

    def __init__(self, url: str, headers: Mapping[str, str], listener: Listener, tasks: Tasks) -> None:
        self._url = url
        self._headers = headers
        self._listener = listener
        self._tasks = tasks
        self._outgoing: asyncio.Queue[ClientFrame | None] = asyncio.Queue()
        """None: close."""
        self._open = False
        self._dropped = False
        self._task = tasks.spawn(self._run(), "client connection")

    def send(self, frame: ClientFrame) -> None:
        self._outgoing.put_nowait(frame)

    def drop(self) -> None:
        self._dropped = True
        self._outgoing.put_nowait(None)
        if self._open:
            asyncio.get_running_loop().call_later(GOODBYE_S, self._task.cancel)
        else:
            self._task.cancel()

    async def gone(self) -> None:
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        ending = await self._live()
        if not self._dropped:
            self._dropped = True
            self._listener.closed(ending)

    async def _live(self) -> Ending:
        # The library takes a twentieth of a second to be imported, which who only serves need not wait for.
        from websockets.asyncio.client import connect  # noqa: PLC0415
        from websockets.exceptions import InvalidStatus, WebSocketException  # noqa: PLC0415
        from websockets.typing import Subprotocol  # noqa: PLC0415

        try:
            # Its own time limits are off: the core has them, and a link is asked by frames, which every proxy passes.
            connection = await connect(
                self._url,
                subprotocols=[Subprotocol(JSON.name)],
                additional_headers=self._headers,
                compression=None,
                open_timeout=None,
                ping_interval=None,
                close_timeout=GOODBYE_S,
                max_size=FRAME_BYTES,
            )
        except InvalidStatus as error:
            return _refused(error.response)
        except (OSError, WebSocketException, ValueError, ImportError, EOFError) as error:
            return Ending(LOST, _words(error))
        self._open = True
        try:
            return await self._talk(connection)
        finally:
            connection.transport.abort()

    async def _talk(self, connection: "ClientConnection") -> Ending:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        writer = self._tasks.spawn(self._write(connection), "client writer")
        try:
            if not self._dropped:
                self._listener.opened()
            while True:
                message = await connection.recv()
                if self._dropped:
                    continue  # up to its end, which comes behind what was on its way
                try:
                    frame = decode(message)
                except ValueError as error:
                    return Ending(LOST, str(error))  # whatever that is there, another connection may find a server
                if frame is not None:
                    self._listener.frame(frame)
        except ConnectionClosed as closed:
            return Ending(closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else Ending(LOST)
        finally:
            writer.cancel()

    async def _write(self, connection: "ClientConnection") -> None:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        try:
            while (frame := await self._outgoing.get()) is not None:
                await connection.send(msgspec.json.encode(frame).decode())
            await connection.close()
        except ConnectionClosed:
            pass  # which the reader tells


def _refused(response: "Response") -> Ending:
    """What the answer to the handshake says, where it is not 101."""
    try:
        error = msgspec.json.decode(response.body or b"", type=_Refusal).error
        reason = f"{error.code}: {error.message}"
    except (msgspec.MsgspecError, UnicodeError):
        reason = f"HTTP {response.status_code}"
    after = response.headers.get("Retry-After", "")
    wait = 1000.0 * min(int(after), 3600) if after.isascii() and after.isdigit() else 0.0
    return Ending(REFUSALS.get(response.status_code, LOST), reason, wait)


class _Fault(msgspec.Struct):
    code: str
    message: str


class _Refusal(msgspec.Struct):
    error: _Fault


def _words(error: Exception) -> str:
    """What the system says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
