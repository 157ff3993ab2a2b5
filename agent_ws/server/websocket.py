"""The WebSocket shell: one reader that never waits for anything slow, one writer, and the core between them.

The one rule: only the writer sends. The reader decides and leaves frames in the outbox, so a client that doesn't read
can't keep its own Stop from being heard.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import assert_never

from starlette.types import Message, Receive, Scope, Send

from ..connection import Close, Connection, Do, Effect, Open
from ..connection import Send as Answer
from ..cursor import Cursor
from ..errors import CODES, AgentWsError, FrameError, Refused, StoreError
from ..events import Event
from ..frames import (
    CODECS,
    JSON,
    Accepted,
    Continue,
    ControlFrame,
    ErrorFrame,
    Hello,
    Interrupt,
    LimitsNotice,
    Pause,
    Rejected,
    Reply,
    Reset,
    Say,
    SessionFrame,
    control_error,
)
from ..log import Position
from ..rates import Meter
from ..session import Accepted as Taken
from ..session import Session
from ..turn import BREATH
from .access import Visitor, unauthorized
from .gateway import Gateway
from .guard import refuse

logger = logging.getLogger("agent_ws")


class Gone(Exception):
    """The client is not there any more, however the server below says it."""


class WebSocketEndpoint:
    """The ASGI application behind `/ws`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        offered: list[str] = scope.get("subprotocols", [])
        codec = next((CODECS[name] for name in offered if name in CODECS), None if offered else JSON)
        if codec is None:
            message = f"expected one of the subprotocols {', '.join(CODECS)}, got others"
            logger.warning("refused a WebSocket: %s", message)
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
        client = Client(self._gateway, Connection(codec, limits), visitor, receive, send, scope=scope)
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
        send: Send,
        *,
        scope: Scope,
    ) -> None:
        self._gateway = gateway
        self._connection = connection
        self._visitor = visitor
        self._scope = scope
        self._life = gateway.life()
        self._meter: Meter = scope["state"]["meter"]
        self._receive = receive
        self._send = send
        self._session: Session | None = None
        self._cursor: Cursor | None = None
        self._held = False
        """`pause` is in force."""
        self._outbox: deque[ControlFrame] = deque()
        self._closing: tuple[int, str] | None = None
        self._draining = False
        self._last_call = False
        """No run is going any more: what the client lacks is all that it will get."""
        self._wake = asyncio.Event()
        """Set when the writer may have something to do."""
        self._inside = ExitStack()
        """What is given back when the client goes."""
        self._waiting: asyncio.TaskGroup = asyncio.TaskGroup()

    async def serve(self) -> None:
        """Serve until either side is finished."""
        with self._inside:
            self._inside.callback(self._gateway.join(self._drain))
            self._visitor.on_end(self._log_out)
            self._inside.callback(self._gateway.house.watch(self._sweep))
            try:
                async with asyncio.TaskGroup() as group:
                    self._waiting = group
                    reader = group.create_task(self._read(), name="ws reader")
                    group.create_task(self._first_frame(), name="ws first frame")
                    try:
                        await self._write()
                    except Gone:
                        # What it said before it went may still be unread: a Stop, and then the tab is closed. Behind
                        # that the reader meets the end by itself.
                        await asyncio.wait({reader}, timeout=self._gateway.settings.timeouts.hello)
                    raise Gone  # noqa: TRY301 - it ends the group, which is the point
            except* Gone:
                pass  # a detach: the run goes on

    # Reading

    async def _read(self) -> None:
        clock = asyncio.get_running_loop().time
        for count in itertools.count(1):
            if count % BREATH == 0:
                # What came in one packet is read without ever waiting: the writer must get to its answers meanwhile.
                await asyncio.sleep(0)
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code", 1005)
                if code in (1002, 1003, 1007, 1009):
                    logger.warning("closed a client that broke the rules of WebSocket: %d", code)
                raise Gone
            data: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
            now = clock()
            over = self._meter.over(now, len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode()))
            effects = self._connection.receive(data, over=over)
            if over and self._meter.strike(now):
                effects += self._connection.overrun()
            for effect in effects:
                await self._serve(effect)

    async def _first_frame(self) -> None:
        await asyncio.sleep(self._gateway.settings.timeouts.hello)
        for effect in self._connection.timed_out():
            await self._serve(effect if self._visitor.owner is not None else Close(unauthorized()))

    async def _serve(self, effect: Effect) -> None:
        """Do what the protocol decided. Waits only for the session to be loaded, which is bounded."""
        match effect:
            case Open(hello=hello):
                await self._open(hello)
            case Do(frame=frame):
                self._do(frame)
            case Answer(frame=frame):
                if isinstance(frame, ErrorFrame):
                    logger.warning("bad frame: %s", frame.message)
                self._answer(frame)
            case Close(error=error):
                logger.warning("closing a client: %s", error)
                self._close(error)
            case _:
                assert_never(effect)

    async def _open(self, hello: Hello) -> None:
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
            self._close(FrameError("The store did not answer in time: come back.", code="internal_error"))
            return
        except StoreError as error:
            logger.error("a session could not be loaded: %s", error)  # noqa: TRY400 - the reason, not our stack, helps
            self._close(FrameError("The store can't be read at the moment: come back.", code="internal_error"))
            return
        except FrameError as error:
            logger.warning("closing a client: %s", error)
            self._close(error)
            return
        position = None
        if hello.epoch is not None and hello.after is not None:
            position = Position(hello.epoch, hello.after, hello.part)
        cursor = Cursor(session.log, position, hello.chunk)
        self._inside.enter_context(session.view())
        self._inside.callback(session.log.watch(self._wake.set))
        self._session, self._cursor = session, cursor
        self._answer(
            SessionFrame(
                session=session.id,
                token=visitor.token(token),
                epoch=session.log.epoch,
                after=cursor.seq,
                resumed=position is not None and cursor.reset is None,
                limits=LimitsNotice(limits.message_bytes, limits.queued),
            )
        )
        if cursor.reset is not None:
            self._answer(Reset(session.log.epoch, cursor.reset))

    def _do(self, frame: Say | Interrupt | Pause | Continue | Reply) -> None:
        session = self._session
        if session is None:
            return  # it could not be opened; the close is on its way
        match frame:
            case Say():
                self._say(session, frame)
            case Interrupt():
                self._held = False
                self._try(lambda: self._interrupt(session, frame), frame.run)
            case Pause(run=run):
                self._held = self._held or run is None or (session.going is not None and session.going.id == run)
            case Continue():
                self._held = False
            case Reply():
                self._try(lambda: session.reply(frame.request, frame.data), frame.request)
            case _:
                assert_never(frame)
        self._wake.set()

    def _say(self, session: Session, frame: Say) -> None:
        try:
            taken = session.take(frame.data, frame.id, frame.when_busy)
        except (Refused, StoreError) as error:
            self._answer(Rejected(error.code, str(error), frame.id))
            return
        self._waiting.create_task(self._acknowledge(session, taken), name="ws acknowledge")

    async def _acknowledge(self, session: Session, taken: Taken) -> None:
        try:
            await session.kept(taken)
        except StoreError as error:
            self._answer(Rejected(error.code, str(error), taken.id))
        else:
            self._answer(Accepted(taken.id, taken.run, taken.outcome))

    def _interrupt(self, session: Session, frame: Interrupt) -> None:
        if frame.section is not None:
            session.stop_part("section", frame.section, frame.run)
        elif frame.agent is not None:
            session.stop_part("agent", frame.agent, frame.run)
        else:
            session.interrupt(frame.run, reason=frame.reason or "user", seen=frame.seen)

    def _try(self, do: Callable[[], object], about: str | None) -> None:
        try:
            do()
        except FrameError as error:
            self._answer(control_error(error, about))

    def _answer(self, frame: ControlFrame) -> None:
        if self._closing is not None:
            return  # it asks on and does not read: what it asks for is done, but no answer waits for it any more
        self._outbox.append(frame)
        if len(self._outbox) > self._gateway.settings.limits.control_frames:
            self._close(FrameError("expected a client that reads its answers", code="slow_client"))
        self._wake.set()

    def _close(self, error: AgentWsError) -> None:
        if self._closing is None:
            self._outbox.append(ErrorFrame(error.code, str(error)))
            self._closing = (error.close or 1011, error.code)
            self._wake.set()

    def _drain(self, last: bool) -> None:  # noqa: FBT001 - the gateway's callback
        self._draining = True
        self._last_call = last
        self._wake.set()

    def _log_out(self) -> None:
        """The login has ended: from this step on no frame of the client's is served, and no event leaves."""
        self._session = None
        self._held = True
        self._close(unauthorized())

    def _sweep(self, now: float) -> None:
        going = self._session is not None and self._session.busy
        sent = 0 if self._cursor is None else self._cursor.seq
        match self._life.over(now, heard=self._meter.heard, sent=sent, going=going):
            case "idle":
                self._close(FrameError("Nothing was sent for a long time: come back when there is.", code="idle"))
            case "old_connection":
                self._close(FrameError("The connection is old: come back with a new one.", code="old_connection"))
            case None:
                pass

    @property
    def _leaving(self) -> bool:
        """Whether the shutdown has nothing more for this client."""
        return self._draining and (self._last_call or self._session is None or not self._session.busy)

    # Writing

    async def _write(self) -> None:
        """Send what there is to send, until the connection is to be closed."""
        frames: deque[Event] = deque()
        while True:
            sent = False
            self._wake.clear()  # before looking, so that nothing which comes meanwhile is missed
            await self._flush()
            if not frames and self._cursor is not None and not self._held:
                frames = deque(self._cursor.pull())
            while frames and not self._held:  # it may be paused while a frame is on its way
                if self._outbox:
                    await self._flush()  # what answers a frame is not held behind text
                await self._transmit(self._connection.codec.encode(frames.popleft()))
                sent = True
                if len(frames) % BREATH == BREATH - 1:
                    await asyncio.sleep(0)  # to send waits only where the socket is full, and this may be a long log
            if self._leaving and not sent:
                self._close(FrameError("The server is shutting down: come back.", code="shutting_down"))
            if self._closing is not None:
                await self._flush()
                code, reason = self._closing
                await self._emit({"type": "websocket.close", "code": code, "reason": reason})
                return
            if not sent:
                await self._wake.wait()

    async def _flush(self) -> None:
        while self._outbox:
            await self._transmit(self._connection.codec.encode(self._outbox.popleft()))

    async def _transmit(self, data: bytes) -> None:
        if self._connection.codec.binary:
            await self._emit({"type": "websocket.send", "bytes": data})
        else:
            await self._emit({"type": "websocket.send", "text": data.decode()})

    async def _emit(self, message: Message) -> None:
        """The one place that sends. Everything by which a server says that the client has gone becomes `Gone`."""
        try:
            await self._send(message)
        except (OSError, RuntimeError) as error:
            # uvicorn raises ClientDisconnected (an OSError) for a lost client, RuntimeError for a send after its close.
            raise Gone from error
