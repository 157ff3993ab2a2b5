"""One user under load: says messages when they are due, stops some, loses the connection in some.

The one rule: a time begins when the user would have acted, had the server been ready. It begins at the sending only
where the user was free to send and the generator itself was late.
"""

from random import Random

import msgspec

from .answer import Answer, Board
from .link import Link
from .live import Source, Timer
from .plan import Step, steps
from .wires import TEXT, WIRES, Frame, Place, decode

BACK_OFF = (0.1, 3.0)
"""Seconds before a connection that was refused is tried again: at first, and at most."""
FATAL = ("4400", "4401", "4403", "4409", "HTTP 400", "HTTP 401", "HTTP 403", "HTTP 404")
"""What a user doesn't come back after."""
NO_SESSION = "4404"


class User:
    """The user with this number. `start` it once, at the beginning of the load; `close` it at the end."""

    def __init__(self, number: int, board: Board, wire: str, source: Source) -> None:
        self._board = board
        self._wire = WIRES[wire]
        self._source = source
        self._steps = steps(board.plan, number)
        self._dice = Random(number)  # noqa: S311 - for a back-off
        self._began = 0.0
        self._step = next(self._steps)
        """The message that is due next."""
        self._said = 0
        self._answer: Answer | None = None
        self._timers: list[Timer] = []
        """For the next message, or for what is done to the answer."""
        self._place: Place | None = None
        self._last = b""
        """The last event: what its `seq` is, only a loss asks."""
        self._past = False
        """What comes was there before: it is sent again after a `reset`."""
        self._leaving = False
        """The answer is left as soon as it has begun."""
        self._link: Link | None = None
        self._ready = False
        """A message may be said: the connection is open, and greeted."""
        self._since = 0.0
        """Since when there is no connection."""
        self._waits = BACK_OFF[0]
        self._gone = False
        """It doesn't come back."""

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
        due = self._due(self._step)
        self._cancel()
        if due >= self._board.end:
            return
        if due <= self._source.now():
            self._board.count("behind", due)
            self._say(due)
        else:
            self._timers.append(self._source.at(due, self._on_time))

    def _on_time(self) -> None:
        if self._ready and self._answer is None:
            now, due = self._source.now(), self._due(self._step)
            self._board.time("own", due, max(due, now))
            self._say(now)

    def _say(self, due: float) -> None:
        now = self._source.now()
        step, self._step = self._step, next(self._steps)
        self._said += 1
        self._answer = Answer(self._board, due, f"m{self._said}")
        self._board.count("messages", now)
        self._tell(self._answer)
        for after, act in ((step.stop, self._stop), (step.drop, self._drop)):
            if after is not None:
                self._timers.append(self._source.at(now + after, act))

    def _tell(self, answer: Answer) -> None:
        """Tell the server what it may not know."""
        if not answer.taken:
            self._send(self._wire.say(self._board.plan.text, answer.name))
        if answer.stopped is not None and not answer.told:
            answer.told = True
            self._send(self._wire.stop(answer.run))

    def _send(self, data: bytes) -> None:
        if self._link is not None:
            self._link.send(data)

    def _stop(self) -> None:
        answer = self._answer
        if answer is None or answer.ended:
            return
        answer.stop(self._source.now())
        if not self._wire.stops:
            self._give_up(answer)
        elif self._ready:
            answer.told = True
            self._send(self._wire.stop(answer.run))

    def _drop(self) -> None:
        answer = self._answer
        if answer is None or answer.ended or not self._ready or self._link is None:
            return
        now = self._source.now()
        self._board.count("dropped", now)
        if not self._wire.greets:
            self._give_up(answer)
            return
        self._link.cut()
        self._away()
        self._connect(now)

    def _give_up(self, answer: Answer) -> None:
        """Leave an answer on a wire that knows no other way: behind its first text, or nobody would know when that
        came.
        """
        if answer.tokens:
            self._abandon()
        else:
            self._leaving = True

    def _abandon(self) -> None:
        """Give the connection up, and the answer with it."""
        if self._link is not None:
            self._link.cut()
        self._over()
        self._connect(self._source.now())

    def _away(self) -> None:
        """The connection is gone: note where to go on."""
        self._ready = False
        if self._answer is not None:
            self._answer.broken()
            self._answer.told = False
        if self._place is not None and self._last:
            self._place.seq = decode(self._last).seq
            self._last = b""

    def _over(self) -> None:
        self._leaving = False
        self._cancel()
        self._answer = None

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # What its connection tells

    def opened(self) -> None:
        """The connection may be written to."""
        if self._wire.greets:
            self._send(self._wire.hello(self._place))
        else:
            self._greeted()

    def _greeted(self) -> None:
        now = self._source.now()
        self._ready = True
        self._waits = BACK_OFF[0]
        if self._place is not None:
            self._board.time("resume", self._since, now)
        else:
            self._board.tally.time("connect", now - self._since)  # most of them are before the window
        if self._answer is not None:
            self._tell(self._answer)
            return
        while (due := self._due(self._step)) < now and due < self._board.begin:
            self._step = next(self._steps)  # it is only warming up: nobody waits for that
        self._wait()

    def lost(self, why: str) -> None:
        """The connection is gone, or was never there."""
        now = self._source.now()
        self._board.tally.fault(why)
        since = now if self._ready else self._since  # one that can't be opened again was lost before
        self._away()
        self._since = since
        if any(code in why for code in FATAL):
            self._gone = True
            return
        if NO_SESSION in why or not self._wire.greets:
            self._place = None
            self._over()
        self._source.at(now + self._dice.uniform(0, self._waits), lambda: self._connect(since))
        self._waits = min(self._waits * 2, BACK_OFF[1])

    def received(self, data: bytes, now: float) -> None:
        """A frame came."""
        if data.startswith(TEXT):
            self._last = data
            if self._answer is not None and not self._answer.ended and not self._past:
                self._answer.text(data, now)
                if self._leaving:
                    self._abandon()
            elif not self._past:
                self._board.tally.fault("text after the end")
            return
        try:
            frame = decode(data)
        except msgspec.MsgspecError:
            self._board.tally.fault("a frame that is not of the wire")
            return
        if frame.seq:
            self._last = data
        if self._answer is not None:
            self._answer.broken()
        if frame.type in ("session", "reset"):
            self._placed(frame)
        elif frame.type == "rejected" or (frame.type == "error" and not frame.seq):
            self._board.tally.fault(f"{frame.type}: {frame.code or 'no code'}")
        elif self._answer is not None:
            self._past = self._past and not (frame.type == "user" and frame.id == self._answer.name)
            if not self._past:
                self._take(frame, self._answer, now)
        if frame.type in self._wire.over and self._answer is not None and not self._past:
            if frame.type == "done" and self._answer.told and not self._wire.greets:
                return  # the Stop has crossed the end: its answer would be taken for the next one's
            self._over()
            self._wait()

    def _placed(self, frame: Frame) -> None:
        """Where the session's events go on."""
        if frame.type == "reset":
            self._board.tally.count("resets")
            self._past = True
            if self._answer is not None:
                # What the server had not saved it doesn't know of: the message, and the Stop.
                self._answer.again()
                self._tell(self._answer)
            if self._place is not None:
                self._place = msgspec.structs.replace(self._place, epoch=frame.epoch or "", seq=0)
            return
        self._greeted()
        old = self._place
        seq = old.seq if old is not None and frame.resumed else frame.after
        token = frame.token or (old.token if old is not None else None)
        self._place = Place(frame.session or "", token, frame.epoch or "", seq)

    def _take(self, frame: Frame, answer: Answer, now: float) -> None:
        match frame.type:
            case "accepted" | "start":
                answer.taken = True
                answer.run = frame.run or answer.run
            case "done":
                answer.done(now)
            case "interrupted":
                answer.interrupted(now)
            case "error":
                answer.failed(frame.code)
            case "settled":
                answer.receipt(now, frame.chars, frame.upstream_closed)
            case _:
                pass

    # The end

    @property
    def done(self) -> bool:
        """Whether nothing that is measured is still to come."""
        if self._answer is not None:
            return self._answer.complete
        return self._gone or self._due(self._step) >= self._board.end

    def close(self) -> None:
        """Leave, and note what was due and had not come."""
        now, board = self._source.now(), self._board
        self._cancel()
        if self._link is not None:
            self._link.cut()
        if self._answer is not None:
            self._answer.leave(now)
        if not self._ready and self._place is not None:
            board.time("resume", self._since, now)
        while (due := self._due(self._step)) < min(now, board.end):
            board.unanswered(due, now)
            self._step = next(self._steps)
