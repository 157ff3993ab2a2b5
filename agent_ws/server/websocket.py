"""The WebSocket shell: one reader that never waits for anything slow, one writer, and the core between them.

The one rule: the reader never waits for room in the socket, it leaves frames at the outlet; so a client that doesn't
read can't keep its own Stop from being heard.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import assert_never

import msgspec
from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope, Send

from ..connection import Close, Connection, Do, Effect, Open
from ..connection import Send as Answer
from ..cursor import Cursor, Hold
from ..errors import CODES, AgentWsError, FrameError, Refused, StoreError
from ..frames import (
    CODECS,
    JSON,
    Accepted,
    Continue,
    ErrorFrame,
    Hello,
    Interrupt,
    LimitsNotice,
    Pace,
    Pause,
    Rejected,
    Reply,
    Reset,
    Say,
    SessionFrame,
    control_error,
    why,
)
from ..journal import note
from ..log import Position
from ..rates import Meter
from ..session import Accepted as Taken
from ..session import Session
from ..turn import BREATH
from .access import Visitor, unauthorized
from .gateway import Gateway
from .guard import refuse
from .outlet import PUSH, Gone, Outlet


class WebSocketEndpoint:
    """The ASGI application behind `/ws`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        offered: list[str] = scope.get("subprotocols", [])
        codec = next((CODECS[name] for name in offered if name in CODECS), None if offered else JSON)
        if codec is None:
            message = f"expected one of the subprotocols {', '.join(CODECS)}, got others"
            note(logging.WARNING, "refused a WebSocket", error=FrameError(message))
            await refuse(scope, receive, send, 400, "bad_frame", message)
            return
        try:
            pace = msgspec.convert(dict(QueryParams(scope["query_string"])), Pace, strict=False)
        except msgspec.ValidationError as error:
            message = f"expected the parameters of a connection, got others: {why(error)}"
            note(logging.WARNING, "refused a WebSocket", error=FrameError(message))
            await refuse(scope, receive, send, 400, "bad_frame", message)
            return
        if self._gateway.draining:
            await refuse(scope, receive, send, 503, "shutting_down", "The server is shutting down: come back.")
            return
        visitor = Visitor.of(scope)
        limits = self._gateway.settings.limits
        # There the server below finds it, for the frames that don't get here.
        scope["state"]["meter"] = Meter(limits, asyncio.get_running_loop().time())
        await receive()  # websocket.connect
        try:
            await send(
                {
                    "type": "websocket.accept",
                    "subprotocol": codec.name if offered else None,
                    "headers": visitor.headers,
                }
            )
        except (OSError, RuntimeError):
            return  # it went before it was let in
        push = scope.get("extensions", {}).get(PUSH)
        outlet = Outlet(codec, send, push, self._gateway.beat, limits.control_frames)
        client = Client(self._gateway, Connection(codec, limits), visitor, receive, outlet, scope=scope, pace=pace)
        try:
            await client.serve()
        except Exception:
            # A bug, which reaches the top. The client is told that it may come back, if it can still be told.
            with suppress(OSError, RuntimeError):
                await send(
                    {"type": "websocket.close", "code": CODES["internal_error"].close, "reason": "internal_error"}
                )
            raise


class Client:
    """One WebSocket client."""

    def __init__(
        self,
        gateway: Gateway,
        connection: Connection,
        visitor: Visitor,
        receive: Receive,
        outlet: Outlet,
        *,
        scope: Scope,
        pace: Pace,
    ) -> None:
        self._gateway = gateway
        self._connection = connection
        self._visitor = visitor
        self._scope = scope
        self._pace = pace
        self._life = gateway.life()
        self._meter: Meter = scope["state"]["meter"]
        self._receive = receive
        self._outlet = outlet
        self._session: Session | None = None
        self._given_back: list[Callable[[], object]] = []
        """What is done when the client goes. No ExitStack: an idle client is to be small."""
        self._patience: asyncio.TimerHandle | None = None
        """What ends its time for the first frame."""
        self._waiting: asyncio.TaskGroup = asyncio.TaskGroup()

    async def serve(self) -> None:
        """Serve until either side is finished."""
        gateway = self._gateway
        self._patience = asyncio.get_running_loop().call_later(gateway.settings.timeouts.hello, self._late)
        self._given_back += (gateway.join(self._outlet.drain), self._heard, gateway.house.watch(self._sweep))
        self._visitor.on_end(self._log_out)
        try:
            async with asyncio.TaskGroup() as group:
                self._waiting = group
                reader = group.create_task(self._read(), name="ws reader")
                try:
                    await self._outlet.write()
                except Gone:
                    # What it said before it went may still be unread: a Stop, and then the tab is closed. Behind that
                    # the reader meets the end by itself.
                    await asyncio.wait({reader}, timeout=gateway.settings.timeouts.hello)
                raise Gone  # noqa: TRY301 - it ends the group, which is the point
        except* Gone:
            pass  # a detach: the run goes on
        finally:
            for give_back in reversed(self._given_back):
                give_back()

    # Reading

    async def _read(self) -> None:
        clock = asyncio.get_running_loop().time
        for count in itertools.count(1):
            if count % BREATH == 0:
                # What came in one packet is read without ever waiting: the writer must get to its answers meanwhile.
                await asyncio.sleep(0)
            # In a call of its own, so that nothing of a message is held while the next one is awaited.
            await self._take(await self._receive(), clock())

    async def _take(self, message: Message, now: float) -> None:
        if message["type"] == "websocket.disconnect":
            code = message.get("code", 1005)
            if code in (1002, 1003, 1007, 1009):
                note(logging.WARNING, "closed a client that broke the rules of WebSocket", code=code)
            raise Gone
        data: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        over = self._meter.over(now, len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode()))
        for effect in self._connection.receive(data, over=over):
            await self._serve(effect)
        if over and self._meter.strike(now):
            for effect in self._connection.overrun():
                await self._serve(effect)

    def _heard(self) -> None:
        """The first frame has come, or none will. A timer that nobody needs is half a KiB."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _late(self) -> None:
        for effect in self._connection.timed_out():
            self._give_up(effect.error if self._visitor.owner is not None else unauthorized())

    def _give_up(self, error: AgentWsError) -> None:
        note(logging.WARNING, "closing a client", error=error)
        self._outlet.close(error)

    async def _serve(self, effect: Effect) -> None:
        """Do what the protocol decided. Waits only for the session to be loaded, which is bounded."""
        match effect:
            case Open(hello=hello):
                await self._open(hello)
            case Do(frame=frame):
                self._do(frame)
            case Answer(frame=frame):
                if isinstance(frame, ErrorFrame):
                    note(logging.WARNING, "bad frame", error=FrameError(frame.message, code=frame.code))
                self._outlet.answer(frame)
            case Close(error=error):
                self._give_up(error)
            case _:
                assert_never(effect)

    async def _open(self, hello: Hello) -> None:
        self._heard()
        gateway, visitor, limits = self._gateway, self._visitor, self._gateway.settings.limits
        token = None
        try:
            visitor.redeem(hello.ticket)
            owner = visitor.check()
            async with asyncio.timeout(gateway.settings.timeouts.hello):
                if hello.session is None:
                    session, token = await gateway.new_session(owner, self._scope)
                else:
                    shown = visitor.token(hello.token)
                    session = await gateway.sessions.find(hello.session, owner=owner, token=shown)
            visitor.check()  # its login may have ended meanwhile
        except TimeoutError:
            self._outlet.close(FrameError("The store did not answer in time: come back.", code="internal_error"))
            return
        except StoreError as error:
            note(logging.ERROR, "a session could not be loaded", error=error)
            self._outlet.close(FrameError("The store can't be read at the moment: come back.", code="internal_error"))
            return
        except FrameError as error:
            self._give_up(error)
            return
        position = None
        if hello.epoch is not None and hello.after is not None:
            position = Position(hello.epoch, hello.after, hello.part)
        pace = self._pace
        cursor = Cursor(
            session.log,
            position,
            Hold.of(
                pace.chunk if hello.chunk is None else hello.chunk,
                pace.buffer_chars if hello.buffer_chars is None else hello.buffer_chars,
                pace.buffer_ms if hello.buffer_ms is None else hello.buffer_ms,
                asyncio.get_running_loop().time,
            ),
        )
        self._given_back.append(session.enter(self._outlet.close))
        self._session = session
        self._outlet.answer(
            SessionFrame(
                session=session.id,
                token=visitor.token(token),
                epoch=session.log.epoch,
                after=cursor.seq,
                tail=session.log.tail,
                resumed=position is not None and cursor.reset is None,
                limits=LimitsNotice(limits.message_bytes, limits.queued),
            )
        )
        if cursor.reset is not None:
            self._outlet.answer(Reset(session.log.epoch, cursor.reset))
        self._outlet.follow(session, cursor)
        self._given_back.append(self._outlet.leave)

    def _do(self, frame: Say | Interrupt | Pause | Continue | Reply) -> None:
        session = self._session
        if session is None:
            return  # it could not be opened; the close is on its way
        match frame:
            case Say():
                self._say(session, frame)
            case Interrupt():
                self._outlet.release()
                self._try(lambda: self._interrupt(session, frame), frame.run)
            case Pause(run=run):
                if run is None or (session.going is not None and session.going.id == run):
                    self._outlet.hold()
            case Continue():
                self._outlet.release()
            case Reply():
                self._try(lambda: session.reply(frame.request, frame.data), frame.request)
            case _:
                assert_never(frame)

    def _say(self, session: Session, frame: Say) -> None:
        try:
            taken = session.take(frame.data, frame.id, frame.when_busy, frame.continues)
        except (Refused, StoreError) as error:
            self._outlet.answer(Rejected(error.code, str(error), frame.id))
            return
        self._waiting.create_task(self._acknowledge(session, taken), name="ws acknowledge")

    async def _acknowledge(self, session: Session, taken: Taken) -> None:
        try:
            await session.kept(taken)
        except (Refused, StoreError) as error:
            self._outlet.answer(Rejected(error.code, str(error), taken.id))
        else:
            self._outlet.answer(Accepted(taken.id, taken.run, taken.outcome))

    def _interrupt(self, session: Session, frame: Interrupt) -> None:
        if frame.section is not None:
            session.stop_part("section", frame.section, frame.run, redo=frame.redo)
        elif frame.agent is not None:
            session.stop_part("agent", frame.agent, frame.run)
        else:
            session.interrupt(frame.run, reason=frame.reason or "user", seen=frame.seen)

    def _try(self, do: Callable[[], object], about: str | None) -> None:
        try:
            do()
        except FrameError as error:
            self._outlet.answer(control_error(error, about))

    def _log_out(self) -> None:
        """The login has ended: from this step on no frame of the client's is served, and no event leaves."""
        self._session = None
        self._outlet.hold()
        self._outlet.close(unauthorized())

    def _sweep(self, now: float) -> None:
        going = self._session is not None and self._session.busy
        match self._life.over(now, heard=self._meter.heard, sent=self._outlet.sent, going=going):
            case "idle":
                self._outlet.close(FrameError("Nothing was sent for long: come back when there is.", code="idle"))
            case "old_connection":
                self._outlet.close(FrameError("This connection is old: come back by a new one.", code="old_connection"))
            case None:
                pass
