"""The client: the core, with a connection and a clock around it.

The one rule: it does what the core decides, in that order, and decides nothing. What it is asked to say is checked
first, by the server's own decoder: a frame that the server can't read would be said again for ever.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, assert_never

import msgspec

from .. import events
from ..errors import FrameError
from ..frames import JSON, ClientFrame, Interrupt, Pause, Reply, Say
from ..settings import WhenBusy
from . import actions as do
from .answer import answer
from .codes import CLOSED, LOST, Closed
from .core import Core, Ending, Options
from .inbox import Inbox
from .incoming import Incoming, Unknown
from .line import Dial, Line
from .websocket import Listener

HELD, AGAIN = 1024, 256
"""Notices that nobody has read yet: at the first number the server is asked to hold the events, at the second to go on.
It merges their text meanwhile, so who comes late gets as much in fewer events."""

LogEvent: TypeAlias = events.Event | do.Reset
"""`Reset`: throw away what came so far, all of it follows again."""
F = TypeVar("F", bound=ClientFrame)


class Sent:
    """A message that was said. Await it for what became of it: `Accepted`, `Rejected` or `Withdrawn`.

    It is kept and said again until then, awaited or not. Raises `Closed` where the client is closed first.
    """

    def __init__(self, message: str, outcome: asyncio.Future[do.Decided]) -> None:
        self.id = message
        self._outcome = outcome

    def __await__(self) -> Generator[Any, None, do.Decided]:
        return asyncio.shield(self._outcome).__await__()  # who stops waiting takes nothing back


class Client:
    """One session of a server, while `async with` lasts; lost connections are come back from.

    Entering it connects, and raises `Closed` where that can't be done within `patience` seconds. It iterates over the
    events of the session's log, from the first or from where the last loop stopped, and ends where the client does:
    without an error when either side closed it in order, else with `Closed`. Leaving it is a detach: runs go on.

    Its methods are to be called from the event loop that it was entered in. All but the iterators return at once.
    """

    def __init__(self, dial: Dial, options: Options, random: Callable[[], float], patience: float) -> None:
        self.session = options.session
        """With `token` what to come back with: `connect(url, session=…, token=…)`. None until the first connection."""
        self.token = options.token
        """Keep it secret. None where the server has a login."""
        self._core = Core(options, random)
        self._line = Line(dial, Listener(self._opened, self._fed, self._lost), self._woken)
        self._patience = patience
        self._inbox = Inbox()
        self._outcomes: dict[str, asyncio.Future[do.Decided]] = {}
        self._due: deque[do.Action] = deque()
        self._acting = False
        self._changed = asyncio.Event()
        self._why = ""
        """What the last lost connection said of its end."""
        self._paused = False
        """The person has paused the events."""
        self._full = False
        """They are paused because nobody reads them."""
        self._over = False

    @property
    def state(self) -> do.ConnectionState:
        """The connection's."""
        return self._core.state

    @property
    def pending(self) -> tuple[Say, ...]:
        """Messages without an outcome: what another client of the session takes as its `outbox`."""
        return tuple(self._core.pending)

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def _connect(self) -> None:
        until = self._now() + self._patience * 1000
        self._do(self._core.connect(self._now()))
        while not isinstance(self.state, do.Open):
            match self.state:
                case do.Ended(code=code, reason=reason):
                    raise Closed(code, reason)
                case do.Waiting(until=again) if again > until:
                    raise Closed(LOST, self._why)
                case _:
                    self._changed.clear()
                    await self._changed.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        await self.close()

    async def close(self) -> None:
        """Leave: what was said leaves first, as far as a connection is there. The session and its run go on."""
        self._do(self._core.close(self._now()))
        self._inbox.end(None)  # where it was never connected
        await self._line.close()

    # What happens

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LogEvent:
        while (notice := await self._read()) is not None:
            match notice:
                case do.Event(event=event) if not isinstance(event, Unknown):
                    return event
                case do.Reset():
                    return notice
                case _:
                    pass
        raise StopAsyncIteration

    async def notices(self) -> AsyncGenerator[do.Notice]:
        """Everything that happens, in its order: events and resets, and beside them the connection's states, sessions,
        outcomes of messages, and what the server could not serve. It hands on what iterating over the client would.
        """
        while (notice := await self._read()) is not None:
            yield notice

    def answer(
        self,
        data: str,
        *,
        id: str | None = None,
        when_busy: WhenBusy | None = None,
        continues: str | None = None,
    ) -> AsyncGenerator[LogEvent]:
        """Say `data` as `send` does, and iterate over the events of its run, up to the ending (`Done`, `Interrupted` or
        `Error`), which is the last. What else comes meanwhile is passed over. Raises `Unanswered` where the message was
        not taken, and `Closed`. Who leaves the loop early stops nothing: that is what `interrupt` is for.
        """
        return answer(self.notices(), self.send(data, id=id, when_busy=when_busy, continues=continues).id)

    async def _read(self) -> do.Notice | None:
        notice = await self._inbox.next()
        if self._full and len(self._inbox) <= AGAIN:
            self._full = False
            if not self._paused:
                self._do(self._core.continue_(None, self._now()))
        return notice

    # What is said

    def send(
        self,
        data: str,
        *,
        id: str | None = None,
        when_busy: WhenBusy | None = None,
        continues: str | None = None,
    ) -> Sent:
        """Say something. It is kept, and said again after each return, until the server has answered it.

        id: a name of your own; said twice under the same one it is run once. continues: a run that was interrupted,
        whose answer is to go on; `data` is empty then. Raises `ValueError` for what no frame can
        hold, `Closed` where the client is closed.
        """
        self._check_open()
        frame = checked(Say(data, id or secrets.token_urlsafe(12), when_busy, continues))
        outcome: asyncio.Future[do.Decided] = asyncio.get_running_loop().create_future()
        self._outcomes[frame.id or ""] = outcome
        self._do(self._core.send(frame, self._now()))
        return Sent(frame.id or "", outcome)

    def withdraw(self, message: str) -> None:
        """Take a message back that has no outcome yet. What has left already is stopped as soon as it has a run."""
        self._do(self._core.withdraw(message, self._now()))

    def interrupt(
        self,
        run: str | None = None,
        *,
        agent: str | None = None,
        section: str | None = None,
        redo: bool = False,
        seen: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Stop a run, or a part of it (`agent`, `section`; with `redo` the section is written again). Without any of
        them everything: what goes, what waits, and what is still on its way.

        seen: how many characters of the run's text the user saw or heard. Lets paused events go on. Raises
        `ValueError`, and `Closed`.
        """
        self._check_open()
        frame = checked(Interrupt(run, agent, section, seen, reason, redo))
        self._paused = self._full = False
        self._do(self._core.interrupt(frame, self._now()))

    def reply(self, request: str, data: Any) -> None:
        """Answer a request: `{"approved": True}`, `{"text": "…"}`, or what a tool returned. Raises `ValueError`, and
        `Closed`.
        """
        self._check_open()
        self._do(self._core.reply(checked(Reply(request, data)), self._now()))

    def pause(self, run: str | None = None) -> None:
        """Hold the events; the run goes on."""
        self._check_open()
        self._paused = True
        self._do(self._core.pause(checked(Pause(run)).run, self._now()))

    def continue_(self, run: str | None = None) -> None:
        """Let the events go on."""
        self._check_open()
        self._paused = False
        if not self._full:
            self._do(self._core.continue_(checked(Pause(run)).run, self._now()))

    def nudge(self) -> None:
        """The network may be back: try now, and ask a link that seems to be there."""
        self._do(self._core.nudge("online", self._now()))

    def _check_open(self) -> None:
        if self._over and isinstance(self.state, do.Ended):
            raise Closed(self.state.code, self.state.reason)

    # What the core decides

    def _now(self) -> float:
        return self._line.now()

    def _opened(self) -> None:
        self._do(self._core.opened(self._now()))

    def _fed(self, frame: Incoming) -> None:
        self._do(self._core.feed(frame, self._now()))

    def _lost(self, ending: Ending) -> None:
        self._why = ending.reason
        self._do(self._core.closed(ending, self._now()))

    def _woken(self) -> None:
        self._do(self._core.wake(self._now()))

    def _do(self, actions: Iterable[do.Action]) -> None:
        """In order, also where one of them causes more."""
        self._due.extend(actions)
        if self._acting:
            return
        self._acting = True
        try:
            while self._due:
                self._act(self._due.popleft())
        finally:
            self._acting = False

    def _act(self, action: do.Action) -> None:
        match action:
            case do.Connect():
                self._line.connect()
            case do.Send(frame=frame):
                self._line.send(frame)
            case do.Drop():
                self._line.drop()
            case do.Wake(at=at):
                self._line.wake_at(at)
            case do.Event():
                self._inbox.put(action)
                self._hold()
            case do.Session(frame=frame):
                self.session, self.token = frame.session, frame.token or self.token
                self._inbox.put(action)
            case do.Outcome(outcome=outcome):
                waiting = self._outcomes.pop(outcome.id or "", None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(outcome)
                self._inbox.put(action)
            case do.State(state=state):
                self._inbox.put(action)
                self._changed.set()
                if isinstance(state, do.Ended):
                    self._end(state)
            case do.Reset() | do.Error():
                self._inbox.put(action)
            case _:
                assert_never(action)

    def _hold(self) -> None:
        if not self._full and len(self._inbox) >= HELD:
            self._full = True
            if not self._paused:
                self._do(self._core.pause(None, self._now()))

    def _end(self, state: do.Ended) -> None:
        self._over = True
        self._inbox.end(None if state.code == CLOSED else Closed(state.code, state.reason))
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_exception(Closed(state.code, state.reason or "closed before the server had answered"))
                outcome.exception()  # who doesn't ask need not know
        self._outcomes.clear()


def checked(frame: F) -> F:
    """The frame, if the server can read it. Raises `ValueError`, and `TypeError` for what is no JSON."""
    try:
        JSON.decode(msgspec.json.encode(frame).decode())
    except FrameError as error:
        raise ValueError(str(error)) from None
    return frame
