"""One user under load: says messages when they are due, stops some, loses the connection in some, and times it all.

The one rule: a time begins when the user would have acted, had the server been ready. It begins at the sending only
where the user was free to send and the generator itself was late.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Protocol

import msgspec
from msgspec import Struct

from ..tasks import Tasks
from .link import Link, clock
from .plan import Plan, Step, steps
from .tally import Figure, Tally
from .target import Target
from .wires import TEXT, WIRES, Frame, Place, decode
from .work import MARK, TOKEN

MARKED = MARK.encode()
BACK_OFF = (0.1, 3.0)
"""Seconds before a connection that was refused is tried again: at first, and at most."""
FATAL = ("4400", "4401", "4403", "4409", "HTTP 400", "HTTP 401", "HTTP 403", "HTTP 404")
"""What a user doesn't come back after."""
NO_SESSION = "4404"


class Clock(Protocol):
    """Where time and connections come from: an event loop's, or a test's."""

    def now(self) -> float: ...

    def at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle: ...

    def connect(self, user: "User") -> Link: ...


class Board(Struct):
    """What all users of one process share."""

    plan: Plan
    begin: float
    """From when on it is measured."""
    end: float
    tally: Tally = msgspec.field(default_factory=Tally)

    def time(self, figure: Figure, since: float, now: float) -> None:
        """Note what began at `since`, if that is inside the time that is measured."""
        if self.begin <= since < self.end:
            self.tally.time(figure, now - since)

    def count(self, what: str, now: float, n: int = 1) -> None:
        """Count what happens now, if that is inside the time that is measured."""
        if self.begin <= now < self.end:
            self.tally.count(what, n)


class Answer(Struct):
    """The answer to one message, while it comes."""

    due: float
    """When the message was due."""
    sent: float
    name: str
    text: str
    tokens: int = 0
    last: float | None = None
    """When the last text came, if the next frame may be text that follows it."""
    run: str | None = None
    taken: bool = False
    """It was accepted, or more: it need not be said again."""
    stop_at: float | None = None
    """When it was stopped."""
    stop_told: bool = False
    ended: bool = False
    """Its ending came; the receipt may be still to come."""
    failed: bool = False
    timers: list[asyncio.TimerHandle] = []


class Live:
    """Real time and real connections."""

    def __init__(self, target: Target, tasks: Tasks) -> None:
        self._target = target
        self._context = target.context
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return clock()

    def at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(max(0.0, when - clock()), call)

    def connect(self, user: "User") -> Link:
        link = WIRES[self._target.wire].link(self._target, user)
        self._tasks.spawn(self._open(link, user.lost), "connect")
        return link

    async def _open(self, link: Link, lost: Callable[[str], None]) -> None:
        target = self._target
        try:
            await self._loop.create_connection(lambda: link, target.host, target.port, ssl=self._context)
        except OSError as error:  # TLS has its own, which is one
            lost(f"could not connect ({error.strerror or type(error).__name__})")


class User:
    """The user with this number. `start` it once, at the beginning of the load."""

    def __init__(self, number: int, board: Board, wire: str, source: Clock) -> None:
        self._board = board
        self._plan = board.plan
        self._wire = WIRES[wire]
        self._source = source
        self._number = number
        self._steps = steps(self._plan, number)
        self._dice = Random(number)  # noqa: S311 - for a back-off
        self._began = 0.0
        self._step = next(self._steps)
        """The message that is due next."""
        self._said = 0
        self._answer: Answer | None = None
        self._place: Place | None = None
        self._last = b""
        """The last event: what its `seq` is, only a loss asks."""
        self._link: Link | None = None
        self._ready = False
        """A message may be said: the connection is open, and greeted."""
        self._since = 0.0
        """Since when there is no connection."""
        self._waits = BACK_OFF[0]
        self._gone = False
        """It doesn't come back."""
        self._timer: asyncio.TimerHandle | None = None
        """Of the message that is due next."""

    # The course of it

    def start(self, began: float) -> None:
        """Connect, and go on from there. Steps count from `began`."""
        self._began = began
        self._connect(self._source.now())

    def _connect(self, since: float) -> None:
        self._since = since
        self._ready = False
        self._link = self._source.connect(self)

    def _due(self, step: Step) -> float:
        return self._began + step.due

    def _wait(self) -> None:
        """Say the next message when it is due, or now if that was before."""
        now, due = self._source.now(), self._due(self._step)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due >= self._board.end:
            return
        if due <= now:
            self._board.count("behind", due)
            self._say(due)
        else:
            self._timer = self._source.at(due, self._on_time)

    def _on_time(self) -> None:
        if self._ready and self._answer is None:
            now, due = self._source.now(), self._due(self._step)
            self._board.time("own", due, max(due, now))
            self._say(now)

    def _say(self, due: float) -> None:
        now = self._source.now()
        step, self._step = self._step, next(self._steps)
        self._said += 1
        answer = self._answer = Answer(due, now, f"m{self._said}", self._plan.text)
        self._board.count("messages", now)
        self._send(self._wire.say(answer.text, answer.name))
        for after, act in ((step.stop, self._stop), (step.drop, self._drop)):
            if after is not None:
                answer.timers.append(self._source.at(now + after, act))

    def _send(self, data: bytes) -> None:
        if self._link is not None:
            self._link.send(data)

    def _stop(self) -> None:
        answer = self._answer
        if answer is None or answer.ended or answer.stop_at is not None:
            return
        now = self._source.now()
        self._board.count("stopped", now)
        if not self._wire.stops:
            self._abandon(now)
            return
        answer.stop_at = now
        answer.last = None
        if self._ready:
            self._tell_stop(answer)

    def _tell_stop(self, answer: Answer) -> None:
        answer.stop_told = True
        self._send(self._wire.stop(answer.run))

    def _drop(self) -> None:
        answer = self._answer
        if answer is None or answer.ended or not self._ready or self._link is None:
            return
        now = self._source.now()
        self._board.count("dropped", now)
        if not self._wire.greets:
            self._abandon(now)
            return
        self._link.cut()
        self._away(now)
        self._connect(now)

    def _abandon(self, now: float) -> None:
        """Give the connection up, and the answer with it: this wire knows no other way."""
        if self._link is not None:
            self._link.cut()
        self._over()
        self._connect(now)

    def _away(self, since: float) -> None:
        """The connection is gone: note where to go on."""
        self._ready = False
        self._since = since
        if self._answer is not None:
            self._answer.last = None
            self._answer.stop_told = False
        if self._place is not None and self._last:
            self._place.seq = decode(self._last).seq
            self._last = b""

    # What its connection tells

    def opened(self) -> None:
        """The connection may be written to."""
        if self._wire.greets:
            self._send(self._wire.hello(self._place))
        else:
            self._greeted(self._source.now())

    def _greeted(self, now: float) -> None:
        self._ready = True
        self._waits = BACK_OFF[0]
        if self._place is not None:
            self._board.time("resume", self._since, now)
        else:
            self._board.tally.time("connect", now - self._since)  # most of them are before it is measured
        answer = self._answer
        if answer is None:
            while (due := self._due(self._step)) < now and due < self._board.begin:
                self._step = next(self._steps)  # it is only warming up: nobody waits for that
            self._wait()
            return
        if not answer.taken:
            self._send(self._wire.say(answer.text, answer.name))
        if answer.stop_at is not None and not answer.stop_told:
            self._tell_stop(answer)

    def lost(self, why: str) -> None:
        """The connection is gone, or was never there."""
        now = self._source.now()
        self._board.tally.fault(why)
        # A loss that lasts counts from when it began.
        since = now if self._ready else self._since
        self._away(since)
        if any(code in why for code in FATAL):
            self._gone = True
            return
        if NO_SESSION in why or not self._wire.greets:
            self._place = None
            if self._answer is not None:
                self._over()
        self._source.at(now + self._dice.uniform(0, self._waits), lambda: self._connect(since))
        self._waits = min(self._waits * 2, BACK_OFF[1])

    def received(self, data: bytes, now: float) -> None:
        """A frame came."""
        if data.startswith(TEXT):
            self._text(data, now)
            return
        try:
            frame = decode(data)
        except msgspec.MsgspecError:
            self._board.tally.fault("a frame that is not of the wire")
            return
        if frame.seq:
            self._last = data
        if self._answer is not None:
            self._answer.last = None  # what comes next is not text that follows text
        self._take(frame, now)

    def _text(self, data: bytes, now: float) -> None:
        board, plan, answer = self._board, self._plan, self._answer
        self._last = data
        if answer is None or answer.ended:
            board.tally.fault("text after the end")
            return
        n = data.count(MARKED) if plan.exact else 1
        if board.begin <= now < board.end:
            board.tally.count("frames")
            board.tally.count("bytes", len(data))
            board.tally.count("tokens", n)
            if answer.last is not None:
                board.tally.time("between", now - answer.last)
        if not answer.tokens:
            board.time("first", answer.due, now)
        if plan.exact:
            for k in range(answer.tokens, answer.tokens + n):
                board.time("late", answer.due + k / plan.rate, now)
        answer.tokens += n
        answer.taken = True
        answer.last = now

    def _take(self, frame: Frame, now: float) -> None:
        board, answer = self._board, self._answer
        match frame.type:
            case "session":
                if frame.session is not None and frame.epoch is not None:
                    back = self._place is not None
                    if back and not frame.resumed:
                        board.tally.count("resets")
                    token = frame.token or (self._place.token if self._place is not None else None)
                    seq = self._place.seq if self._place is not None and frame.resumed else frame.after
                    self._greeted(now)
                    self._place = Place(frame.session, token, frame.epoch, seq)
            case "reset":
                board.tally.count("resets")
                if answer is not None:
                    answer.tokens = 0  # the whole log follows
            case "accepted" | "start" if answer is not None:
                answer.taken = True
                answer.run = frame.run or answer.run
            case "done" | "interrupted" | "error" if answer is not None and (frame.seq or not self._wire.greets):
                self._ending(frame, answer, now)
            case "error" | "rejected":
                board.tally.fault(f"{frame.type}: {frame.code or 'no code'}")
            case "settled" if answer is not None:
                self._receipt(frame, answer, now)
            case _:
                pass
        if frame.type in self._wire.over and answer is not None:
            if frame.type == "done" and answer.stop_told and not self._wire.greets:
                return  # the Stop has crossed the end: its answer would be taken for the next one's
            self._over()
            self._wait()

    def _ending(self, frame: Frame, answer: Answer, now: float) -> None:
        crossed = answer.ended
        answer.ended = answer.taken = True
        if frame.type == "error":
            answer.failed = True
            self._board.tally.fault(f"an answer failed: {frame.code or 'no code'}")
        elif frame.type == "done":
            self._board.count("answers", now)
            if self._plan.exact:
                self._compare(answer, self._plan.tokens)
        elif answer.stop_at is not None and not crossed:
            self._board.time("stop", answer.stop_at, now)

    def _receipt(self, frame: Frame, answer: Answer, now: float) -> None:
        if answer.stop_at is not None:
            self._board.time("settled", answer.stop_at, now)
            if frame.upstream_closed is not None:
                if frame.upstream_closed:
                    self._board.time("closed", answer.stop_at, now)
                else:
                    self._board.tally.fault("a receipt says that the provider's connection is still open")
        if self._plan.exact and answer.stop_at is not None and frame.chars is not None:
            self._compare(answer, frame.chars // len(TOKEN))

    def _compare(self, answer: Answer, expected: int) -> None:
        """Count what the server says it wrote and never came, and what came and was never written."""
        if answer.tokens < expected:
            self._board.tally.count("lost", expected - answer.tokens)
        elif answer.tokens > expected:
            self._board.tally.count("doubled", answer.tokens - expected)

    def _over(self) -> None:
        if self._answer is not None:
            for timer in self._answer.timers:
                timer.cancel()
        self._answer = None

    # The end

    @property
    def done(self) -> bool:
        """Whether nothing that is measured is still to come."""
        end = self._board.end
        answer = self._answer
        if answer is None:
            return self._gone or self._due(self._step) >= end
        if answer.stop_at is not None or not answer.tokens:
            return False
        wanted = min(self._plan.tokens, (end - answer.due) * self._plan.rate)
        return not self._plan.exact or answer.tokens >= wanted

    def close(self) -> None:
        """Leave, and note what had not come: how long it has been due counts, or the worst would be left out."""
        now, board, plan = self._source.now(), self._board, self._plan
        if self._link is not None:
            self._link.cut()
        if (answer := self._answer) is not None and not self.done:
            if not answer.tokens:
                self._unanswered(answer.due, now)
            elif plan.exact and answer.stop_at is None and not answer.failed:
                for k in range(answer.tokens, plan.tokens):
                    board.time("late", answer.due + k / plan.rate, max(now, answer.due + k / plan.rate))
            if answer.last is not None and plan.exact and answer.tokens < plan.tokens:
                board.tally.time("between", now - answer.last)
            if answer.stop_at is not None and not answer.ended:
                board.time("stop", answer.stop_at, now)
        if not self._ready and self._place is not None:
            board.time("resume", self._since, now)
        if self._timer is not None:
            self._timer.cancel()
        while (due := self._due(self._step)) < min(now, board.end):
            self._unanswered(due, now)
            self._step = next(self._steps)

    def _unanswered(self, due: float, now: float) -> None:
        if self._board.begin <= due < self._board.end:
            self._board.tally.count("unanswered")
            self._board.time("first", due, now)
