"""The HTTP shell: the same sessions as streams of SSE or NDJSON, and the calls beside them.

The one rule: a request that comes back never begins anything. What it asked for the first time has been taken; it
goes on reading.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..cursor import Cursor, Hold
from ..dialects import Place, negotiate, preferred
from ..errors import AgentWsError, FrameError, Refused, StoreError
from ..frames import BufferChars, BufferMs, Count, Id, check_plain, why
from ..journal import note
from ..life import Life
from ..log import Position
from ..session import Session
from ..settings import WhenBusy
from ..streams import ChunkMode
from .access import Visitor, unauthorized
from .gateway import Gateway
from .guard import failure
from .stream import Stream, gzipped, pour
from .tokens import bearer


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
    part: Count = 0
    chunk: ChunkMode | None = None
    buffer_chars: BufferChars | None = None
    buffer_ms: BufferMs | None = None


class InterruptAsk(_Ask, frozen=True, kw_only=True):
    """`/api/agent/interrupt`."""

    run: Id | None = None
    agent: Id | None = None
    section: Id | None = None
    seen: Count | None = None
    reason: Id | None = None
    redo: bool = False


class ReplyAsk(_Ask, frozen=True, kw_only=True):
    """`/api/agent/reply`."""

    request: Id
    data: Any = None

    def __post_init__(self) -> None:
        check_plain(self.data)


AskT = TypeVar("AskT", bound=_Ask)


class HttpEndpoints:
    """The HTTP side of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ticket(self, request: Request) -> Response:
        """What a page that is logged in opens its WebSocket with."""
        try:
            ticket = self._gateway.access.issue(Visitor.of(request.scope))
        except AgentWsError as error:
            return _refusal(error)
        expires_in = math.floor(self._gateway.settings.timeouts.ticket)
        return JSONResponse({"ticket": ticket, "expires_in": expires_in}, headers={"cache-control": "no-store"})

    async def interrupt(self, request: Request) -> Response:
        """Stop a run, all runs of a session, or a part of one."""

        async def act(ask: InterruptAsk, session: Session) -> object:
            if ask.section is not None:
                return {"stopped": session.stop_part("section", ask.section, ask.run, redo=ask.redo)}
            if ask.agent is not None:
                return {"stopped": session.stop_part("agent", ask.agent, ask.run)}
            return {"interrupted": session.interrupt(ask.run, reason=ask.reason or "user", seen=ask.seen)}

        return await self._call(request, InterruptAsk, act)

    async def reply(self, request: Request) -> Response:
        """Answer a request of the agent's."""

        async def act(ask: ReplyAsk, session: Session) -> object:
            session.reply(ask.request, ask.data)
            return {"resolved": ask.request}

        return await self._call(request, ReplyAsk, act)

    async def _call(
        self, request: Request, kind: type[AskT], act: Callable[[AskT, Session], Awaitable[object]]
    ) -> Response:
        try:
            ask = await self._read(request, kind)
            session = await self._find(ask, request)
            return JSONResponse(await act(ask, session))
        except AgentWsError as error:
            return _refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET` and `POST /api/agent/stream`, as an ASGI application."""
        request = Request(scope, receive)
        visitor = Visitor.of(scope)
        with ExitStack() as stack:
            try:
                stream = await self._open(request, visitor, stack)
            except AgentWsError as error:
                await _refusal(error)(scope, receive, send)
                return
            except ClientDisconnect:
                return
            if stream is None:
                await Response(status_code=204)(scope, receive, send)
                return
            dialect = negotiate(_listed(request.headers, "accept"))
            headers = [
                (b"content-type", dialect.media_type.encode()),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
                *visitor.headers,
            ]
            visitor.on_end(lambda: stream.refuse(unauthorized()))
            stack.callback(self._gateway.house.watch(partial(_sweep, stream, self._gateway.life())))
            chunks = stream.chunks(dialect)
            if "gzip" in preferred(_listed(request.headers, "accept-encoding")):
                headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
                chunks = gzipped(chunks)
            await pour(chunks, headers, receive, send)

    async def _open(self, request: Request, visitor: Visitor, stack: ExitStack) -> Stream | None:
        """Everything that can be refused with a status, before the stream begins. None: there is nothing to read."""
        ask = await self._asked(request)
        place = None
        if (last := request.headers.get("last-event-id")) is not None:
            place = Place.parse(last)
            ask = replace(ask, session=place.session, message=None, epoch=None)
        token = None
        begins = ask.session is None and (ask.message is not None or request.method == "POST")
        if ask.session is not None:
            session = await self._find(ask, request)
        elif begins:
            session, token = await self._gateway.new_session(visitor.check(), request.scope)
        else:
            return None
        stack.enter_context(session.view())
        claimed = None
        if place is not None:
            claimed = place.position
        elif ask.epoch is not None and ask.after is not None:
            claimed = Position(ask.epoch, ask.after, ask.part)
        start = claimed or Position(session.log.epoch, 0)
        run = place.run if place is not None else ""
        taken = None
        if ask.message is not None:
            before = session.log.position
            taken = session.take(ask.message, ask.id, ask.when_busy)
            run = taken.run
            # Where nothing was written it had been taken before, and its events may lie anywhere.
            if claimed is None and session.log.tail > before.seq:
                start = before
            await session.kept(taken)
        hold = Hold.of(ask.chunk, ask.buffer_chars, ask.buffer_ms, asyncio.get_running_loop().time)
        stream = Stream(
            session,
            Cursor(session.log, start, hold),
            self._gateway.settings,
            run=run,
            token=visitor.token(token),
            taken=taken,
            resumed=claimed is not None,
        )
        stack.callback(session.log.watch(stream.wake))
        return stream if begins or taken is not None or stream.promises() else None

    async def _asked(self, request: Request) -> StreamAsk:
        match request.method:
            case "GET":
                query = request.query_params
                limit = self._gateway.settings.limits.message_bytes
                if len(request.scope["query_string"]) > limit:
                    raise FrameError(f"expected at most {limit} bytes, got more", code="message_too_big")
                try:
                    return msgspec.convert(dict(query), StreamAsk, strict=False)
                except msgspec.ValidationError as error:
                    raise FrameError(f"expected the parameters of a stream, got others: {why(error)}") from None
            case "POST":
                return await self._read(request, StreamAsk)
            case method:
                raise FrameError(f"expected GET or POST, got {method}", code="method_not_allowed")

    async def _read(self, request: Request, kind: type[AskT]) -> AskT:
        """The body. Raises `FrameError`, or `ClientDisconnect` where the client goes before its end."""
        limit = self._gateway.settings.limits.message_bytes
        body = bytearray()
        try:
            async with asyncio.timeout(self._gateway.settings.timeouts.hello):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise FrameError(f"expected at most {limit} bytes, got more", code="message_too_big")
        except TimeoutError:
            raise FrameError("expected the whole request, got a part of it in time", code="hello_timeout") from None
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise FrameError(f"expected a JSON object as PROTOCOL.md says, got one that is not: {why(error)}") from None

    async def _find(self, ask: _Ask, request: Request) -> Session:
        if ask.session is None:
            raise FrameError("expected a `session`, got none")
        visitor = Visitor.of(request.scope)
        token = visitor.token(ask.token or bearer(request.headers.getlist("authorization")))
        try:
            async with asyncio.timeout(self._gateway.settings.timeouts.hello):
                session = await self._gateway.sessions.find(ask.session, owner=visitor.check(), token=token)
        except TimeoutError:
            raise StoreError("The store did not answer in time: come back.") from None
        visitor.check()  # its login may have ended meanwhile
        return session


def _sweep(stream: Stream, life: Life, now: float) -> None:
    """End a stream that is too old. It is never idle: it ends where nothing is going."""
    if life.over(now, heard=now, sent=0, going=True) is not None:
        stream.refuse(FrameError("The stream is old: come back with its place.", code="old_connection"))


def _listed(headers: Headers, name: str) -> str:
    """A header that is a list: sent in several lines it is still one."""
    return ",".join(headers.getlist(name))


def _refusal(error: AgentWsError) -> JSONResponse:
    """An error as a response, and once in the log: what is refused may be somebody's attempt, or our store."""
    level = logging.ERROR if isinstance(error, StoreError) else logging.WARNING
    note(logging.INFO if isinstance(error, Refused) else level, "refused a request", error=error)
    return failure(error.status, error.code, str(error), error.wait if isinstance(error, Refused) else 1.0)
