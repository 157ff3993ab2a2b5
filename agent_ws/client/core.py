"""The resume client without its socket: frames, losses, gestures and the time go in, what to do comes out.

The one rule: it decides and never does. Time is an argument, in milliseconds of any clock; chance is one too. The
cursor moves only past an event that was handed on, so none is handed on twice, and none is left out. What a person
does is kept and said again after each return, until the server has shown that it was heard.

    state        becomes
    connecting   open: by `session`; waiting or ended: by the end of the connection, or after `OPENING`
    open         waiting, resting or ended: by the close code
    waiting      connecting: after the back-off, or by a nudge
    resting      connecting: when there is something to say. The server closed it because nobody said anything
    ended        connecting: by `connect` alone

`tests/fixtures/client.json` is what it must do, for clients in any language.
"""

from collections.abc import Callable
from typing import Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from ..events import ENDINGS, Content, Event, Resolved, Start, Thinking, User
from ..frames import (
    Accepted,
    ClientFrame,
    Continue,
    ErrorFrame,
    Hello,
    Interrupt,
    Pause,
    Ping,
    Pong,
    Rejected,
    Reply,
    Reset,
    Say,
    SessionFrame,
)
from ..settings import WhenBusy
from ..streams import ChunkMode
from . import actions as do
from .codes import CLOSED, IDLE, LOST, RESTARTS, comes_back
from .incoming import Incoming, Unknown
from .outbox import Outbox

FIRST, MOST = 500, 15_000
"""The longest wait before attempt n is `min(MOST, FIRST * 2 ** n)`, the wait itself any time up to that."""
STABLE = 5_000
"""A connection that lived this long was a good one: the back-off begins anew."""
OPENING = 10_000
"""From the first step of a connection to the `session` frame."""
PROBE_AFTER, PROBE_PATIENCE = 25_000, 5_000
"""A dead link says nothing: after a silence ask, and wait for any answer."""
AGAIN = 1_000
"""A reply that came too fast is said again."""
TRIES = 2
"""How often a wire is tried that never worked, until another one has its turn."""
LOYALTY = 4
"""How often one is tried that did work here: networks change without a word."""


class Options(Struct, frozen=True, kw_only=True):
    """What a client is made with."""

    session: str | None = None
    """The session to come back to, with its token where the server gave one."""
    token: str | None = None
    chunk: ChunkMode | None = None
    buffer_chars: int | None = None
    buffer_ms: int | None = None
    when_busy: WhenBusy | None = None
    wires: tuple[do.Wire, ...] = ("ws", "sse")
    """What may be tried, the better one first."""
    outbox: tuple[Say, ...] = ()
    """Messages that an earlier client of the same session had not seen accepted."""


class Ending(Struct, frozen=True):
    """How a connection ended."""

    code: int
    reason: str = ""
    wait: float = 0
    """Milliseconds that the server asked to stay away."""


class _Cursor(Struct):
    epoch: str
    after: int = 0
    part: int = 0


class Core:
    """The client. Each call returns what is to be done, in that order."""

    def __init__(self, options: Options, random: Callable[[], float]) -> None:
        self.state: do.ConnectionState = do.Ended(CLOSED, "")
        self._options = options
        self._random = random
        self._session = options.session
        self._token = options.token
        self._wire: do.Wire = options.wires[0]
        self._cursor: _Cursor | None = None
        self._may_come = False
        """`session` has opened the stream, and no `reset` is due."""
        self._message_bytes: int | None = None
        self._outbox = Outbox()
        self._unwanted: set[str] = set()
        """Messages that were withdrawn when they had left: their runs are stopped as soon as they are known."""
        self._runs: dict[str, bool] = {}
        """Runs that have no ending; true: it has begun."""
        self._paused: Pause | None = None
        self._attempt = 0
        self._failed = 0
        """Attempts since one came to a `session`."""
        self._works: do.Wire | None = None
        """The wire that worked in this network."""
        self._opened_at = 0.0
        self._restarting = False
        self._heard = 0.0
        self._deadline: float | None = None
        """Until when something must be heard."""
        self._again_at: float | None = None
        self._armed: float | None = None
        self._actions: list[do.Action] = []
        for frame in options.outbox:
            self._outbox.keep(("message", frame.id), frame).sent = True

    @property
    def pending(self) -> list[Say]:
        """Messages without an outcome, in their order."""
        return self._outbox.messages()

    @property
    def hello(self) -> Hello:
        """What to open a connection with."""
        asked, cursor = self._options, self._cursor
        return Hello(
            session=self._session,
            token=self._token,
            epoch=cursor.epoch if cursor else None,
            after=cursor.after if cursor else None,
            part=cursor.part if cursor else 0,
            chunk=asked.chunk,
            buffer_chars=asked.buffer_chars,
            buffer_ms=asked.buffer_ms,
            when_busy=asked.when_busy,
        )

    # What happens to the connection

    def connect(self, now: float) -> list[do.Action]:
        """Connect, or come back now, whatever was planned."""
        if not isinstance(self.state, do.Connecting | do.Open):
            self._connect(now)
        return self._done(now)

    def opened(self, now: float) -> list[do.Action]:
        """The connection is there, and nothing has been said yet."""
        self._send(self.hello)
        if self._paused is not None:
            self._send(self._paused)
        return self._done(now)

    def feed(self, frame: Incoming, now: float) -> list[do.Action]:
        """A frame came."""
        self._heard = now
        if isinstance(self.state, do.Open):
            self._deadline = None
        match frame:
            case SessionFrame() | Reset() | Accepted() | Rejected() | ErrorFrame() | Pong():
                self._control(frame, now)
            case _:
                self._event(frame)
        return self._done(now)

    def quiet(self, now: float) -> list[do.Action]:
        """There is nothing behind the cursor, so nothing was sent: the connection is as good as open."""
        if isinstance(self.state, do.Connecting):
            self._open(now)
        return self._done(now)

    def closed(self, ending: Ending, now: float) -> list[do.Action]:
        """The connection is gone."""
        if isinstance(self.state, do.Connecting | do.Open):
            self._closed(ending, now)
        return self._done(now)

    def wake(self, now: float) -> list[do.Action]:
        """It is the time that `Wake` asked for."""
        self._armed = None
        if self._deadline is not None and now >= self._deadline:
            self._do(do.Drop())  # nothing came in time
            self._closed(Ending(LOST), now)
        elif isinstance(self.state, do.Waiting) and now >= self.state.until:
            self._connect(now)
        elif isinstance(self.state, do.Open):
            if self._again_at is not None and now >= self._again_at:
                self._flush()
            if self._deadline is None and now >= self._heard + PROBE_AFTER:
                self._probe(now)
        return self._done(now)

    def nudge(self, why: Literal["online", "visible"], now: float) -> list[do.Action]:
        """Something changed for the better: the network is back (`online`), or the person is (`visible`)."""
        if why == "online":
            self._works = None  # it may be another network
            self._failed = 0
        if isinstance(self.state, do.Open):
            self._probe(now)
        elif isinstance(self.state, do.Waiting | do.Resting):
            self._connect(now)
        return self._done(now)

    def close(self, now: float) -> list[do.Action]:
        """Leave for good. The session and its run go on."""
        if not isinstance(self.state, do.Ended):
            if isinstance(self.state, do.Connecting | do.Open):
                self._do(do.Drop())
            self._end(do.Ended(CLOSED, ""))
        return self._done(now)

    # What the person does

    def send(self, frame: Say, now: float) -> list[do.Action]:
        """Say a message, which has an `id`."""
        self._outbox.keep(("message", frame.id), frame)
        return self._say(now)

    def withdraw(self, message: str, now: float) -> list[do.Action]:
        """Take a message back: one that has left is stopped as soon as it has a run. One that was accepted is no
        message any more.
        """
        self._withdraw(message)
        return self._done(now)

    def interrupt(self, stop: Interrupt, now: float) -> list[do.Action]:
        """Stop a run or a part of it; without `run` everything, also what is still in the outbox. What is said again
        after a return names its runs, so that it can't hit one that began since.
        """
        self._paused = None  # an interrupt lets the connection's events go on
        if stop.run is not None or stop.agent is not None or stop.section is not None:
            going = next((run for run, begun in self._runs.items() if begun), None)
            whole = replace(stop, run=stop.run or going)
            self._outbox.keep(("interrupt", whole), whole)
        else:
            for frame in self.pending:
                self._withdraw(frame.id or "")
            opened = isinstance(self.state, do.Open)
            if opened:
                self._send(stop)
            for run, begun in self._runs.items():
                named = replace(stop, run=run, seen=stop.seen if begun else None)
                kept = self._outbox.keep(("interrupt", run), named)
                if opened:
                    self._outbox.cover(kept)  # what was just said
            if opened:
                self._send(self._outbox.mark())
        if isinstance(self.state, do.Waiting):
            self._connect(now)  # a Stop can't wait for a back-off
        return self._say(now)

    def reply(self, frame: Reply, now: float) -> list[do.Action]:
        """Answer a request."""
        self._outbox.keep(("reply", frame.request), frame)
        return self._say(now)

    def pause(self, run: str | None, now: float) -> list[do.Action]:
        """Hold the events, on this connection and on those that come after it."""
        self._paused = Pause(run)
        if isinstance(self.state, do.Open):
            self._send(self._paused)
        return self._done(now)

    def continue_(self, run: str | None, now: float) -> list[do.Action]:
        """Let the events go on."""
        self._paused = None
        if isinstance(self.state, do.Open):
            self._send(Continue(run))
        return self._done(now)

    # The connection

    def _connect(self, now: float) -> None:
        self._wire = self._choose()
        self._may_come = False
        self._outbox.renew()
        self._again_at = None
        self._deadline = now + OPENING
        self._become(do.Connecting(self._wire, self._restarting))
        self._do(do.Connect(self._wire))

    def _choose(self) -> do.Wire:
        if self._works is not None:
            return self._works
        best, *others = self._options.wires
        if not others or self._failed < TRIES or (self._failed - TRIES) % 2 == 1:
            return best
        return others[0]

    def _open(self, now: float) -> None:
        self._opened_at = self._heard = now
        self._deadline = None
        self._failed = 0
        self._works = self._wire
        self._restarting = False
        self._become(do.Open(self._wire))
        self._flush()

    def _closed(self, ending: Ending, now: float) -> None:
        code = ending.code
        opened = isinstance(self.state, do.Open)
        if opened and now - self._opened_at >= STABLE:
            self._attempt = 0
        if not opened and comes_back(code):  # else the wire did work
            self._failed += 1
            if self._failed >= LOYALTY:
                self._works = None
        speaks = code == IDLE and len(self._outbox) > 0
        if not comes_back(code) and not speaks:
            self._end(do.Resting(code) if code == IDLE else do.Ended(code, ending.reason))
            return
        # Until it is back, a server that said it restarts answers with a bare refusal.
        self._restarting = self._restarting or code in RESTARTS
        # Full jitter: all clients of a restarted server must not come back in step.
        longest = min(MOST, FIRST * 2 ** min(self._attempt, 16))
        self._attempt += 1
        self._end(do.Waiting(now + ending.wait + round(self._random() * longest), self._restarting))

    def _end(self, state: do.ConnectionState) -> None:
        self._deadline = None
        self._again_at = None
        self._may_come = False
        self._become(state)

    def _probe(self, now: float) -> None:
        if self._deadline is None:
            self._send(Ping())
            self._deadline = now + PROBE_PATIENCE

    # Frames

    def _control(self, frame: SessionFrame | Reset | Accepted | Rejected | ErrorFrame | Pong, now: float) -> None:
        match frame:
            case SessionFrame():
                self._take(frame, now)
            case Reset(epoch=epoch, reason=reason):
                self._cursor = _Cursor(epoch)
                self._may_come = True
                self._runs.clear()
                self._do(do.Reset(reason))
            case Accepted():
                self._accepted(frame)
            case Rejected(id=message):
                if message is not None:
                    self._settle(message, frame)
            case ErrorFrame():
                self._error(frame, now)
            case Pong(data=data):
                if data is not None and data.isascii() and data.isdigit():
                    self._outbox.heard(int(data))
            case _:
                assert_never(frame)

    def _take(self, frame: SessionFrame, now: float) -> None:
        self._session = frame.session
        self._token = frame.token or self._token
        self._message_bytes = frame.limits.message_bytes
        # Where the cursor was not honoured `reset` is due. The link may break before it comes: until then it stays
        # what it was.
        self._may_come = frame.resumed or self._cursor is None
        if self._cursor is None:
            self._cursor = _Cursor(frame.epoch, frame.after)
        elif frame.resumed:
            self._cursor.epoch = frame.epoch
        self._do(do.Session(frame))
        if isinstance(self.state, do.Connecting):
            self._open(now)

    def _event(self, event: Event | Unknown) -> None:
        cursor = self._cursor
        if cursor is None or not self._may_come:
            return
        part = event.part if isinstance(event, Content | Thinking) else 0
        if (event.seq, part) <= (cursor.after, cursor.part):
            return  # a duplicate
        cursor.after, cursor.part = event.seq, part
        match event:
            case User(steer=False):
                self._runs[event.run] = False
            case Start():
                self._runs[event.run] = True
            case Resolved(request=request):
                self._outbox.forget(("reply", request))
            case _ if isinstance(event, ENDINGS):
                self._runs.pop(event.run, None)
            case _:
                pass
        self._do(do.Event(event))

    def _accepted(self, frame: Accepted) -> None:
        unwanted = frame.id in self._unwanted and frame.outcome != "steered"  # what steers is no run of its own
        self._settle(frame.id, frame)
        if unwanted:
            self._outbox.keep(("interrupt", frame.run), Interrupt(run=frame.run))
            self._flush()

    def _settle(self, message: str, outcome: do.Decided) -> None:
        self._unwanted.discard(message)
        if self._outbox.forget(("message", message)):
            self._do(do.Outcome(outcome))

    def _error(self, frame: ErrorFrame, now: float) -> None:
        key = ("reply", frame.about)
        kept = self._outbox.find(key)
        if kept is not None and frame.code == "rate_limited":
            kept.mark = 0
            self._again_at = now + AGAIN
        elif kept is not None:
            self._outbox.forget(key)
        self._do(do.Error(frame))

    # The outbox

    def _say(self, now: float) -> list[do.Action]:
        if isinstance(self.state, do.Resting):
            self._connect(now)
        if isinstance(self.state, do.Open):
            self._flush()
        return self._done(now)

    def _flush(self) -> None:
        self._again_at = None
        for frame in self._outbox.flush(self._message_bytes):
            if isinstance(frame, Rejected):
                self._settle(frame.id or "", frame)
            else:
                self._send(frame)

    def _withdraw(self, message: str) -> None:
        kept = self._outbox.find(("message", message))
        if kept is None:
            return
        if kept.sent:
            self._unwanted.add(message)
        else:
            self._settle(message, do.Withdrawn(message))

    # Actions

    def _become(self, state: do.ConnectionState) -> None:
        self.state = state
        self._do(do.State(state))

    def _send(self, frame: ClientFrame) -> None:
        self._do(do.Send(frame))

    def _do(self, action: do.Action) -> None:
        self._actions.append(action)

    def _done(self, now: float) -> list[do.Action]:
        """All that is to be done, and the time at which to look again."""
        at = self._next(now)
        # A timer that comes too early does no harm, and is not worth a call for each frame.
        if (self._armed is not None) if at is None else (self._armed is None or at < self._armed):
            self._armed = at
            self._do(do.Wake(at))
        actions, self._actions = self._actions, []
        return actions

    def _next(self, now: float) -> float | None:
        if isinstance(self.state, do.Waiting):
            return self.state.until
        if not isinstance(self.state, do.Open):
            return self._deadline
        soonest = self._deadline if self._deadline is not None else self._heard + PROBE_AFTER
        return max(now, soonest if self._again_at is None else min(soonest, self._again_at))
