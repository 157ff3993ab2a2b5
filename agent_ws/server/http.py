"""The HTTP shell: the same sessions as streams of SSE or NDJSON, and the calls beside them.

The one rule: a request that comes back never begins anything. What it asked for the first time has been taken; it
goes on reading.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Any

import msgspec
from msgspec import Struct
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..cursor import Cursor
from ..dialects import Dialect, Place, negotiate
from ..errors import AgentWsError, FrameError
from ..events import ENDINGS
from ..frames import Accepted, Count, Id, LimitsNotice, Reset, SessionFrame
from ..log import Position
from ..session import Accepted as Taken
from ..session import Session
from ..settings import WhenBusy
from .gateway import Gateway
from .guard import Owner

HEARTBEAT_S = 15.0
"""How long a stream may be silent: shorter than the idle limit of common proxies."""


class _Ask(Struct, frozen=True, kw_only=True):
    """What every call may say about its session."""

    session: Id | None = None
    token: Id | None = None


class StreamAsk(_Ask, frozen=True, kw_only=True):
    """`/api/agent/stream`."""

    message: str | None = None
    id: Id | None = None
    when_busy: WhenBusy | None = None
    epoch: Id | None = None
    after: Count | None = None


class InterruptAsk(_Ask, frozen=True, kw_only=True):
    """`/api/agent/interrupt`."""

    run: Id | None = None
    agent: Id | None = None
    section: Id | None = None
    seen: Count | None = None
    reason: Id | None = None


class ReplyAsk(_Ask, frozen=True, kw_only=True):
    """`/api/agent/reply`."""

    request: Id
    data: Any = None


class HttpEndpoints:
    """The HTTP side of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def interrupt(self, request: Request) -> Response:
        """Stop a run, all runs of a session, or a part of one."""

        async def act(ask: InterruptAsk, session: Session) -> object:
            if ask.section is not None or ask.agent is not None:
                kind, name = ("section", ask.section) if ask.section is not None else ("agent", ask.agent or "")
                return {"stopped": session.stop_part("section" if kind == "section" else "agent", name or "", ask.run)}
            return {"interrupted": session.interrupt(ask.run, reason=ask.reason or "user", seen=ask.seen)}

        return await self._call(request, InterruptAsk, act)

    async def reply(self, request: Request) -> Response:
        """Answer a request of the agent's."""

        async def act(ask: ReplyAsk, session: Session) -> object:
            session.reply(ask.request, ask.data)
            return {"resolved": ask.request}

        return await self._call(request, ReplyAsk, act)

    async def _call(self, request: Request, kind: Any, act: Any) -> Response:
        owner = Owner.of(request.scope)
        try:
            ask = await self._read(request, kind)
            session = await self._find(ask, request.headers, owner)
            answer = await act(ask, session)
        except AgentWsError as error:
            return _failure(error)
        return JSONResponse(answer)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET` and `POST /api/agent/stream`, as an ASGI application."""
        request = Request(scope, receive)
        owner = Owner.of(scope)
        with ExitStack() as stack:
            try:
                opened = await self._open(request, owner, stack)
            except AgentWsError as error:
                await _failure(error)(scope, receive, send)
                return
            if opened is None:
                await Response(status_code=204)(scope, receive, send)
                return
            dialect = negotiate(request.headers.get("accept", ""))
            headers = [
                (b"content-type", dialect.media_type.encode()),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
                *owner.headers,
            ]
            chunks = opened.chunks(dialect)
            if "gzip" in request.headers.get("accept-encoding", ""):
                headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
                chunks = _gzip(chunks)
            await _pour(chunks, headers, receive, send)

    async def _open(self, request: Request, owner: Owner, stack: ExitStack) -> "Stream | None":
        """Everything that can be refused with a status, before the stream begins. None: there is nothing to read."""
        if request.method == "GET":
            try:
                ask = msgspec.convert(dict(request.query_params), StreamAsk, strict=False)
            except msgspec.ValidationError as error:
                raise FrameError(f"expected the parameters of a stream, got: {error}") from None
            if ask.token is not None:
                raise FrameError("expected the token as `Authorization: Bearer`: an address is written to logs")
        else:
            ask = await self._read(request, StreamAsk)
        place = None
        if (last := request.headers.get("last-event-id")) is not None:
            place = Place.parse(last)
            ask = StreamAsk(session=place.session, token=ask.token)
        token = None
        if ask.session is None:
            if ask.message is None:
                return None
            session, token = await self._gateway.sessions.create(owner.name)
        else:
            session = await self._find(ask, request.headers, owner)
        stack.enter_context(session.view())
        taken = None
        start = Position(session.log.epoch, 0)
        if place is not None:
            start = place.position
        elif ask.epoch is not None and ask.after is not None:
            start = Position(ask.epoch, ask.after)
        elif ask.message is not None:
            start = session.log.position
        if ask.message is not None:
            known = session.log.tail
            taken = session.take(ask.message, ask.id, ask.when_busy)
            if session.log.tail == known:  # it had been taken before: its events may lie anywhere
                start = Position(session.log.epoch, 0)
            await session.kept(taken)
        run = taken.run if taken is not None else place.run if place is not None else ""
        cursor = Cursor(session.log, start)
        stream = Stream(self._gateway, session, cursor, run, token, taken, resumed=place is not None)
        return None if taken is None and not stream.promises() else stream

    async def _read(self, request: Request, kind: Any) -> Any:
        limit = self._gateway.settings.limits.message_bytes
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise FrameError(f"expected at most {limit} bytes, got more", code="message_too_big")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            why = str(error) if isinstance(error, msgspec.ValidationError) else "malformed"
            raise FrameError(f"expected a JSON object as PROTOCOL.md says, got one that is not: {why}") from None

    async def _find(self, ask: _Ask, headers: Headers, owner: Owner) -> Session:
        if ask.session is None:
            raise FrameError("expected a `session`, got none")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        token = ask.token or (bearer.strip() if scheme.lower() == "bearer" else None)
        return await self._gateway.sessions.find(ask.session, owner=owner.name, token=token)


class Stream:
    """One HTTP stream: which events of which session, and when it is over."""

    def __init__(
        self,
        gateway: Gateway,
        session: Session,
        cursor: Cursor,
        run: str,
        token: str | None,
        taken: Taken | None,
        *,
        resumed: bool,
    ) -> None:
        self._gateway = gateway
        self._session = session
        self._cursor = cursor
        self._run = run
        self._token = token
        self._taken = taken
        self._resumed = resumed

    def promises(self) -> bool:
        """Whether it has or will have anything to send."""
        if self._cursor.reset is not None or self._session.is_open(self._run):
            return True
        events = self._session.log.read(self._cursor.seq)
        if not self._run:
            return bool(events)
        return any(event.run == self._run and isinstance(event, ENDINGS) for event in events)

    async def chunks(self, dialect: Dialect) -> AsyncGenerator[bytes]:
        """The stream's bytes, in pieces that are each to be sent at once."""
        yield b"".join(dialect.control(frame) for frame in self._head())
        cursor, log, session = self._cursor, self._session.log, self._session
        while True:
            # Asked before the log is read: what an ending run wrote is then surely in what is read.
            over = not session.is_open(self._run)
            piece: list[bytes] = []
            for event in cursor.pull():
                if self._run and event.run != self._run:
                    continue
                place = Place(session.id, Position(log.epoch, event.seq), self._run)
                piece.append(dialect.event(event, place))
                if self._run and isinstance(event, ENDINGS):
                    over = True
                    break
            else:
                over = over and not cursor.behind
            if over:
                piece.append(dialect.end())
                yield b"".join(piece)
                return
            if piece:
                yield b"".join(piece)
            if not cursor.behind:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await log.wait(cursor.seq)
                except TimeoutError:
                    if dialect.heartbeat:
                        yield dialect.heartbeat

    def _head(self) -> list[SessionFrame | Reset | Accepted]:
        log, limits = self._session.log, self._gateway.settings.limits
        head: list[SessionFrame | Reset | Accepted] = [
            SessionFrame(
                session=self._session.id,
                token=self._token,
                epoch=log.epoch,
                after=self._cursor.seq,
                resumed=self._resumed and self._cursor.reset is None,
                limits=LimitsNotice(limits.message_bytes, limits.queued),
            )
        ]
        if self._cursor.reset is not None:
            head.append(Reset(log.epoch, self._cursor.reset))
        if self._taken is not None:
            head.append(Accepted(self._taken.id, self._taken.run, self._taken.outcome))
        return head


def _failure(error: AgentWsError) -> JSONResponse:
    return JSONResponse({"error": {"code": error.code, "message": str(error)}}, error.status)


async def _gzip(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Compress, flushing behind each piece: nothing waits in the compressor."""
    packer = zlib.compressobj(wbits=31)
    async with aclosing(chunks):
        async for chunk in chunks:
            yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


async def _pour(
    chunks: AsyncGenerator[bytes], headers: list[tuple[bytes, bytes]], receive: Receive, send: Send
) -> None:
    """Send `chunks` as a response until they end or the client goes. Only `receive` tells that it has gone."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        writing.cancel()

    async def write() -> None:
        async with aclosing(chunks):
            try:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except OSError:
                pass  # gone: a detach

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write(), name="http writer")
        watching = group.create_task(gone(), name="http watcher")
        await asyncio.wait({writing})
        watching.cancel()
