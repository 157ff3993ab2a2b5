"""The way out to one WebSocket client: its control frames, and the events after its cursor.

The one rule: only this sends. What is new leaves inside the append that made it, where nothing waits before it and the
socket has room: no task, no queue, no copy. Text that comes within a moment behind it leaves merged at the moment's
end, and what a run begins with when its agent has had its first step. Everything else is the writer's: what a full
socket held up, what was held by a pause, the end.
"""

import asyncio
from collections.abc import Callable, Sequence

from starlette.types import Message, Send

from ..cursor import Cursor
from ..errors import AgentWsError, FrameError
from ..events import Content, Event, Start, Thinking, User
from ..frames import Codec, ControlFrame, ErrorFrame
from ..session import Session
from ..turn import BREATH

Push = Callable[[Sequence[bytes], bool], bool]
"""Sends whole messages at once, as text or, where the second argument is true, as binary. False: it can't now, and sent
none.
"""
PUSH = "agent_ws.push"
"""The ASGI extension by which our server offers it; under another server `send` does everything."""

GATHER_S = 0.005
"""How long text is gathered behind text that has just left: a third of the time for which a screen shows a picture."""
LATE_S = 0.005
"""How late the end of such a time is where the loop has more to do than it can."""
BUSY_S = 0.25
"""For how long it is taken for busy then."""

TEXT = (Content, Thinking)
OPENING = (User, Start)
"""What a run begins with: the agent is about to write."""
TOGETHER = 4
"""Messages in one write, so that a full socket is noticed soon."""


class Gone(Exception):
    """The client is not there any more, however the server below says it."""


class Beat:
    """When what was gathered leaves. One for all clients of a loop, so that a moment costs one timer together."""

    def __init__(self) -> None:
        self.busy_until = 0.0
        """Until then the loop is taken for one that has more to do than it can, on its clock."""
        self._later: list[Callable[[], None]] = []
        self._due = 0.0
        self._behind: Callable[[], None] | None = None

    def later(self, do: Callable[[], None]) -> None:
        """Call `do` within `GATHER_S`. It must not raise."""
        if not self._later:
            loop = asyncio.get_running_loop()
            self._due = loop.time() + GATHER_S
            loop.call_at(self._due, self._next)
        self._later.append(do)

    def behind(self, do: Callable[[], None]) -> None:
        """Call `do` behind the step of the loop that is being done. It must not raise."""
        before, self._behind = self._behind, do
        if before is None:
            asyncio.get_running_loop().call_soon(self._over)
        else:
            before()  # it was said in an earlier step, or for another client of the same session

    def _over(self) -> None:
        do, self._behind = self._behind, None
        if do is not None:
            do()

    def _next(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._due + LATE_S:
            self.busy_until = now + BUSY_S
        later, self._later = self._later, []
        for do in later:
            do()


class Outlet:
    """One client's. `limit`: control frames that may wait."""

    def __init__(self, codec: Codec, send: Send, push: Push | None, beat: Beat, limit: int) -> None:
        self._codec = codec
        self._send = send
        self._push = push
        self._beat = beat
        self._limit = limit
        self._session: Session | None = None
        self._cursor: Cursor | None = None
        self._held = False
        """`pause` is in force."""
        self._outbox: list[ControlFrame] = []
        self._frames: list[Event] = []
        """Events that have left the cursor and not this process."""
        self._closing: tuple[int, str] | None = None
        self._draining = False
        self._last_call = False
        """No run is going any more: what the client lacks is all that it will get."""
        self._stirred = False
        """The writer may have something to do."""
        self._waiting: asyncio.Future[None] | None = None
        """The writer waits. Neither an Event nor deques: empty ones take most of the memory of an idle client."""
        self._resting = False
        """The writer waits, and nothing waits for it."""
        self._prompt = False
        """It rests, and what is new in the log may be pushed past it."""
        self._clock = asyncio.get_running_loop().time
        self._gathers = 0.0
        """Until then text is gathered: some has just left, and nothing else behind it."""
        self._late = False
        """`_moment_over` is due."""
        self._opening = False
        """What a run begins with has not left yet."""
        self._timer: asyncio.TimerHandle | None = None
        """Text is held, and goes then."""

    # What there is to send

    def follow(self, session: Session, cursor: Cursor) -> None:
        """Deliver what is after `cursor`, from now on, until `leave`."""
        self._session, self._cursor = session, cursor
        session.log.watch(self._appended)
        self._stir()

    def leave(self) -> None:
        """Take nothing more from the log."""
        self.hold()  # `_moment_over` may still be due
        if self._session is not None:
            self._session.log.unwatch(self._appended)
        if self._timer is not None:
            self._timer.cancel()

    def answer(self, frame: ControlFrame) -> None:
        """Send a control frame; one that waits is not held behind text."""
        if self._closing is not None:
            return  # it asks on and does not read: what it asks for is done, but no answer waits for it any more
        if self._resting and self._push is not None and self._push((self._codec.encode(frame),), self._codec.binary):
            return
        self._outbox.append(frame)
        if len(self._outbox) > self._limit:
            self.close(FrameError("expected a client that reads its answers", code="slow_client"))
        self._stir()

    def hold(self) -> None:
        """Keep events back until `release`; control frames still leave."""
        self._held = True
        self._prompt = False

    def release(self) -> None:
        """Deliver again."""
        if self._held:
            self._held = False
            self._stir()

    def close(self, error: AgentWsError) -> None:
        """Say why, and close. The first reason counts."""
        if self._closing is None:
            self._catch_up()  # what was gathered was said before
            self._outbox.append(ErrorFrame(error.code, str(error)))
            self._closing = (error.close or 1011, error.code)
            self._stir()

    def drain(self, last: bool) -> None:  # noqa: FBT001 - the gateway's callback
        """The server shuts down: close when there is nothing more for this client, with `last` even if a run goes."""
        self._draining = True
        self._last_call = last
        self._stir()

    @property
    def sent(self) -> int:
        """The last event that left for the client, 0 before any."""
        return 0 if self._cursor is None else self._cursor.seq

    # Sending

    def _appended(self) -> None:
        """Something is new in the log. Called inside the append."""
        if not self._prompt or self._cursor is None:
            self._stir()
        elif not self._cursor.log.grows:
            if isinstance(self._cursor.log.last, OPENING):
                # It leaves with what the agent writes in its first step, because each write costs as much as all the
                # rest. That step is the next turn of the loop's; this is behind it.
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, self._open)
                self._opening = True
                self._gathers = 0.0
            else:
                self._catch_up()
        elif (now := self._clock()) < self._beat.busy_until:
            # Its agent has waited for its turn, and may have more to say in it.
            if not self._late:
                self._late = True
                self._beat.behind(self._moment_over)
        elif now >= self._gathers:
            self._catch_up()
        elif not self._late:
            # Text, and not the first of this moment: what else comes of it joins it.
            self._late = True
            self._beat.later(self._moment_over)

    def _open(self) -> None:
        if self._opening:
            self._catch_up()

    def _moment_over(self) -> None:
        self._late = False
        self._catch_up()

    def _catch_up(self) -> None:
        """Push what is new. What the socket has no room for is left to the writer."""
        self._opening = False
        if not self._prompt or self._push is None or self._cursor is None:
            self._stir()
            return
        codec = self._codec
        last = event = self._cursor.next()
        if event is not None and self._push((codec.encode(event),), codec.binary):
            pass  # nearly always
        else:
            events = self._pull(self._cursor) if event is None else [event]
            last = events[-1] if events else None
            for start in range(0, len(events), TOGETHER):
                some = events[start : start + TOGETHER]
                if self._frames or not self._push([codec.encode(new) for new in some], codec.binary):
                    self._frames.extend(some)
            if self._frames:
                self._stir()
        if last is not None:
            self._gathers = self._clock() + GATHER_S if isinstance(last, TEXT) else 0.0

    def _pull(self, cursor: Cursor) -> list[Event]:
        """What is new. Sees to it that what is held is looked at when its time comes."""
        events = cursor.pull()
        if cursor.due is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(cursor.due, self._ring)
        return events

    def _ring(self) -> None:
        # Not set anew for each text that is held: it may find that what it was set for has gone, and rings later.
        self._timer = None
        self._catch_up()

    def _stir(self) -> None:
        self._resting = self._prompt = False
        self._stirred = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _stir_awaited(self) -> None:
        if not self._stirred:
            self._resting = True
            self._prompt = not (self._push is None or self._cursor is None or self._held or self._draining)
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    async def write(self) -> None:
        """Send what can't be pushed, until the connection is to be closed. Raises `Gone`."""
        while True:
            sent = False
            self._stirred = False  # before looking, so that nothing which comes meanwhile is missed
            await self._flush()
            if not self._frames and self._cursor is not None and not self._held:
                self._frames.extend(self._pull(self._cursor))
            while self._frames and not self._held:  # it may be paused while a frame is on its way
                if self._outbox:
                    await self._flush()
                await self._transmit(self._codec.encode(self._frames.pop(0)))
                sent = True
                if len(self._frames) % BREATH == BREATH - 1:
                    await asyncio.sleep(0)  # to send waits only where the socket is full, and this may be a long log
            if self._leaving and not sent:
                self.close(FrameError("The server is shutting down: come back.", code="shutting_down"))
            if self._closing is not None:
                await self._flush()
                code, reason = self._closing
                await self._emit({"type": "websocket.close", "code": code, "reason": reason})
                return
            if not sent:
                await self._stir_awaited()

    @property
    def _leaving(self) -> bool:
        """Whether the shutdown has nothing more for this client."""
        return self._draining and (self._last_call or self._session is None or not self._session.busy)

    async def _flush(self) -> None:
        while self._outbox:
            await self._transmit(self._codec.encode(self._outbox.pop(0)))

    async def _transmit(self, data: bytes) -> None:
        if self._push is not None and self._push((data,), self._codec.binary):
            return
        if self._codec.binary:
            await self._emit({"type": "websocket.send", "bytes": data})
        else:
            await self._emit({"type": "websocket.send", "text": data.decode()})

    async def _emit(self, message: Message) -> None:
        """Everything by which a server says that the client has gone becomes `Gone`."""
        try:
            await self._send(message)
        except (OSError, RuntimeError) as error:
            # uvicorn raises ClientDisconnected (an OSError) for a lost client, RuntimeError for a send after its close.
            raise Gone from error
