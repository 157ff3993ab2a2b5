"""The HTTP shell: the same sessions as streams of SSE or NDJSON, and the calls beside them.

The one rule: a request that comes back never begins anything. What it asked for the first time has been taken; it
goes on reading.
"""

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..cursor import Cursor, Hold
from ..dialects import Place, negotiate, preferred
from ..errors import AgentWsError, FrameError, Refused, StoreError
from ..frames import BufferChars, BufferMs, Count, Id, SessionCard, SessionPage, check_plain, why
from ..journal import note
from ..life import Life
from ..log import Position
from ..session import Session
from ..settings import WhenBusy
from ..stores.cards import Mark, folded
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
    continues: Id | None = None
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


class ListAsk(Struct, frozen=True, kw_only=True):
    """`GET /api/agent/sessions`."""

    words: str = ""
    before: str | None = None
    limit: Annotated[int, Meta(ge=1)] = 50


class RenameAsk(Struct, frozen=True, kw_only=True):
    """`PATCH /api/agent/sessions/{session}`."""

    title: str
    token: Id | None = None


class DeleteAsk(Struct, frozen=True, kw_only=True):
    """`DELETE /api/agent/sessions/{session}`, whose body may be empty."""

    token: Id | None = None


T = TypeVar("T")
AskT = TypeVar("AskT", bound=Struct)
SessionAskT = TypeVar("SessionAskT", bound=_Ask)
ChangeT = TypeVar("ChangeT", RenameAsk, DeleteAsk)
NO_STORE = {"cache-control": "no-store"}
MARK = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)~(.+)")
"""A place in the list, as the wire has it."""


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
        return JSONResponse({"ticket": ticket, "expires_in": expires_in}, headers=NO_STORE)

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

    async def sessions(self, request: Request) -> Response:
        """A page of the owner's list."""
        visitor = Visitor.of(request.scope)
        try:
            page = await self._page(self._query(request, ListAsk), visitor.check())
            visitor.check()
        except AgentWsError as error:
            return _refusal(error)
        response = Response(msgspec.json.encode(page), media_type="application/json", headers=NO_STORE)
        response.raw_headers += visitor.headers
        return response

    async def _page(self, ask: ListAsk, owner: str) -> SessionPage:
        limits, sessions = self._gateway.settings.limits, self._gateway.sessions
        if ask.limit > limits.listed:
            raise FrameError(f"expected a `limit` of at most {limits.listed}, got more")
        words = folded(ask.words).split()
        if len(ask.words) > limits.search_chars or len(words) > limits.search_words:
            raise FrameError(
                f"expected at most {limits.search_chars} characters and {limits.search_words} words, got more"
            )
        mark = None
        if ask.before is not None:
            found = MARK.fullmatch(ask.before)
            if found is None:
                raise FrameError("expected `before` to be the `next` of another page, got something else")
            mark = Mark(float(found[1]), found[2])
        page = await self._in_time(sessions.page(owner, words, mark, ask.limit))
        return SessionPage(
            sessions=tuple(
                SessionCard(card.session, card.title, card.created, card.updated, going=sessions.busy(card.session))
                for card in page.cards
            ),
            next=page.next and f"{page.next.updated!r}~{page.next.session}",
        )

    async def session(self, request: Request) -> Response:
        """Give a session another title, or delete it for good."""

        async def rename(ask: RenameAsk, session: str, owner: str, token: str | None) -> object:
            title = " ".join(ask.title.split())
            limit = self._gateway.settings.limits.title_chars
            if not 0 < len(title) <= limit:
                raise FrameError(f"expected a title of 1 to {limit} characters, got {len(title)}")
            await self._gateway.sessions.rename(session, title, owner=owner, token=token)
            return {"session": session, "title": title}

        async def delete(_: DeleteAsk, session: str, owner: str, token: str | None) -> object:
            await self._gateway.sessions.delete(session, owner=owner, token=token)
            return {"deleted": session}

        if request.method == "PATCH":
            return await self._change(request, RenameAsk, rename)
        return await self._change(request, DeleteAsk, delete)

    async def _change(
        self,
        request: Request,
        kind: type[ChangeT],
        act: Callable[[ChangeT, str, str, str | None], Coroutine[Any, Any, object]],
    ) -> Response:
        visitor = Visitor.of(request.scope)
        try:
            ask = await self._read(request, kind, empty=b"{}")
            token = visitor.token(ask.token or bearer(request.headers.getlist("authorization")))
            done = await self._in_time(act(ask, request.path_params["session"], visitor.check(), token))
            return JSONResponse(done, headers=NO_STORE)
        except AgentWsError as error:
            return _refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """What the store has to do, within its time. Raises `StoreError`."""
        try:
            async with asyncio.timeout(self._gateway.settings.timeouts.hello):
                return await work
        except TimeoutError:
            raise StoreError("The store did not answer in time: come back.") from None

    async def _call(
        self, request: Request, kind: type[SessionAskT], act: Callable[[SessionAskT, Session], Awaitable[object]]
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
        elif ask.continues is not None and ask.message is None:
            ask = replace(ask, message="")  # nothing is said with it
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
            taken = session.take(ask.message, ask.id, ask.when_busy, ask.continues)
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
        session.log.watch(stream.wake)
        stack.callback(session.log.unwatch, stream.wake)
        stack.callback(session.enter(stream.conclude))
        return stream if begins or taken is not None or stream.promises() else None

    async def _asked(self, request: Request) -> StreamAsk:
        match request.method:
            case "GET":
                return self._query(request, StreamAsk)
            case "POST":
                return await self._read(request, StreamAsk)
            case method:
                raise FrameError(f"expected GET or POST, got {method}", code="method_not_allowed")

    def _query(self, request: Request, kind: type[AskT]) -> AskT:
        limit = self._gateway.settings.limits.message_bytes
        if len(request.scope["query_string"]) > limit:
            raise FrameError(f"expected at most {limit} bytes, got more", code="message_too_big")
        try:
            return msgspec.convert(dict(request.query_params), kind, strict=False)
        except msgspec.ValidationError as error:
            raise FrameError(f"expected parameters as PROTOCOL.md has them, got others: {why(error)}") from None

    async def _read(self, request: Request, kind: type[AskT], *, empty: bytes = b"") -> AskT:
        """The body, or `empty` where there is none. Raises `FrameError`, or `ClientDisconnect` where the client goes
        before its end.
        """
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
            return msgspec.json.decode(body or empty, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise FrameError(f"expected a JSON object as PROTOCOL.md says, got one that is not: {why(error)}") from None

    async def _find(self, ask: _Ask, request: Request) -> Session:
        if ask.session is None:
            raise FrameError("expected a `session`, got none")
        visitor = Visitor.of(request.scope)
        token = visitor.token(ask.token or bearer(request.headers.getlist("authorization")))
        session = await self._in_time(self._gateway.sessions.find(ask.session, owner=visitor.check(), token=token))
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
