"""A recording as a server: plays it to any client that connects.

The one rule: it is for this machine's own pages and programs. A page of another site is refused, or it could read what
somebody has recorded.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from mimetypes import guess_type
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, NegotiationError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ..frames import CODECS, JSON
from ..recording import LOST, Recording
from ..server.app import PAGE, PAGE_HEADERS
from .stage import Close, Part, Say, Stage, Step, Wait

PATIENCE_S = 5.0
"""After so long people are told what is waited for."""
CLOSE_S = 1.0
"""For a client to answer the close."""
MESSAGE_BYTES = 16 * 2**20
LIST = "/api/agent/sessions"


class Replay:
    """Serves a recording on `host` and `port` (0: any that is free). An async context manager.

    Whoever connects plays the next connection of the recording; once all have come and gone it begins anew. `tell` gets
    a line for people when a client departs, or is waited for.
    """

    def __init__(
        self, recording: Recording, tell: Callable[[str], None], *, speed: float = 1.0, host: str, port: int
    ) -> None:
        self.port = port
        self.departures = 0
        """Of clients that did something else, in all."""
        self.played = asyncio.Event()
        """Set when every connection has come and gone."""
        self._recording = recording
        self._tell = tell
        self._speed = speed
        self._host = host
        self._stage = Stage(recording, speed, self._departs)
        self._heard = asyncio.Event()
        """Set, and replaced, whenever a client has done something: others may wait for it."""
        self._server: Server | None = None

    async def listen(self) -> None:
        """Take the port. Raises `OSError` where that can't be."""
        self._server = await serve(
            self._play,
            self._host,
            self.port,
            process_request=self._ask,
            select_subprotocol=_select,
            subprotocols=[Subprotocol(name) for name in CODECS],
            compression=None,
            max_size=MESSAGE_BYTES,
            close_timeout=CLOSE_S,
            server_header=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def __aenter__(self) -> Self:
        if self._server is None:
            await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None  # noqa: S101 - it was entered
        self._server.close()
        await self._server.wait_closed()

    def _departs(self, line: str) -> None:
        self.departures += 1
        self._tell(line)

    def _ask(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answer what is no handshake, or none that is to be accepted."""
        host = request.headers.get("Host", "")
        origin = request.headers.get("Origin")
        if not self._knows(host) or origin not in (None, f"http://{host}"):
            return socket.respond(HTTPStatus.FORBIDDEN, "expected a client of this machine, or the page from here\n")
        path = request.path.partition("?")[0]
        if path == LIST:
            # A recording has no list, and the page asks for it.
            return _body(b'{"sessions":[]}', "application/json", {})
        if path != "/ws":
            return _page(socket, path)
        if self._stage.over:
            self._stage = Stage(self._recording, self._speed, self._departs)
        match self._stage.refuses(self._now):
            case None:
                return None
            case status:
                self._wake()
                return socket.respond(
                    HTTPStatus(status), "so it was recorded, or there are no more connections in it\n"
                )

    def _knows(self, host: str) -> bool:
        """Whether a `Host` header is ours: a foreign name that was pointed at this machine is none (DNS rebinding)."""
        name, colon, port = host.rpartition(":")
        name = (name if colon and port.isdecimal() else host).strip("[]")
        try:
            return name in ("localhost", self._host) or bool(ip_address(name))
        except ValueError:
            return False

    async def _play(self, socket: ServerConnection) -> None:
        stage = self._stage
        part = stage.connect(JSON if socket.subprotocol is None else CODECS[socket.subprotocol], self._now)
        if part is None:
            return  # somebody else was faster
        self._wake()
        answers: asyncio.Queue[Step] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as group:
                listener = group.create_task(self._listen(stage, part, socket, answers), name="replay listens")
                await self._send(stage, part, socket, answers)
                listener.cancel()
        except* ConnectionClosed:
            pass
        finally:
            stage.leave(part, self._now)
            self._wake()
            if stage.over:
                self.played.set()

    async def _listen(self, stage: Stage, part: Part, socket: ServerConnection, answers: asyncio.Queue[Step]) -> None:
        async for message in socket:
            for answer in stage.hear(part, message, self._now):
                answers.put_nowait(answer)
            self._wake()
        raise ConnectionClosedOK(None, None)  # the client has gone

    async def _send(self, stage: Stage, part: Part, socket: ServerConnection, answers: asyncio.Queue[Step]) -> None:
        """Send what is due, until the connection is to be closed."""
        told = ""
        while True:
            heard = self._heard  # before looking, so that nothing which comes meanwhile is missed
            match answers.get_nowait() if not answers.empty() else stage.step(part, self._now):
                case Say(message=message):
                    await socket.send(message)
                case Close(code=code, reason=reason):
                    if code == LOST:
                        socket.transport.abort()
                    else:
                        await socket.close(code, reason)
                    return
                case Wait(until=until) if until is not None:
                    await _set(heard, until - self._now)
                case Wait():
                    if not await _set(heard, PATIENCE_S) and (waits := stage.waits_for(part)) not in ("", told):
                        self._tell(waits)
                        told = waits

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _wake(self) -> None:
        self._heard.set()
        self._heard = asyncio.Event()


async def _set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event` at most so long. False: it did not come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    return event.is_set()


def _select(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """As our server does: the first that it knows; none where none is asked for."""
    known = next((name for name in offered if name in CODECS), None)
    if offered and known is None:
        raise NegotiationError(f"expected one of the subprotocols {', '.join(CODECS)}")
    return known


def _page(socket: ServerConnection, path: str) -> Response:
    """A file of the chat page."""
    file = (PAGE / ("index.html" if path == "/" else path.lstrip("/"))).resolve()
    if not (file.is_relative_to(PAGE) and file.is_file()):
        return socket.respond(
            HTTPStatus.NOT_FOUND, "expected `/ws`: this is a recording, served by `agent-ws replay`\n"
        )
    return _body(file.read_bytes(), guess_type(file.name)[0] or "application/octet-stream", PAGE_HEADERS)


def _body(body: bytes, kind: str, fields: dict[str, str]) -> Response:
    headers = fields | {"content-type": kind, "content-length": str(len(body)), "connection": "close"}
    return Response(200, "OK", Headers(headers), body)
