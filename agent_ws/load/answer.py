"""The answer to one message, while it comes: what of it is measured.

The one rule: what is measured is inside a window of time, and belongs to it by when it was due.
"""

import msgspec
from msgspec import Struct

from .plan import Plan
from .tally import Figure, Tally
from .work import MARK, TOKEN

MARKED = MARK.encode()


class Board(Struct):
    """What all users of one process share: the window, and what is counted in it."""

    plan: Plan
    begin: float
    end: float
    tally: Tally = msgspec.field(default_factory=Tally)

    def time(self, figure: Figure, since: float, now: float) -> None:
        """Note what began at `since`, if that is inside the window."""
        if self.begin <= since < self.end:
            self.tally.time(figure, now - since)

    def count(self, what: str, now: float, n: int = 1) -> None:
        """Count what happens now, if that is inside the window."""
        if self.begin <= now < self.end:
            self.tally.count(what, n)

    def unanswered(self, due: float, now: float) -> None:
        """Note a message that had no text until now."""
        if self.begin <= due < self.end:
            self.tally.count("unanswered")
            self.time("first", due, now)


class Answer(Struct):
    """One answer. `due`: when the message was; `name`: the client's for it."""

    board: Board
    due: float
    name: str
    tokens: int = 0
    timed: int = 0
    """Tokens that are measured: after a `reset` they come again."""
    run: str | None = None
    taken: bool = False
    """The server has the message: it need not be said again."""
    stopped: float | None = None
    """When the user stopped it."""
    told: bool = False
    """The server was told so, on the connection of now."""
    ended: bool = False
    """Its ending came; the receipt may be still to come."""
    _last: float | None = None
    """When the last text came, if what comes next may follow it."""

    def text(self, data: bytes, now: float) -> None:
        """Text came."""
        board, plan = self.board, self.board.plan
        self.tokens += data.count(MARKED) if plan.exact else 1
        self.taken = True
        if self.tokens <= self.timed:
            return
        if board.begin <= now < board.end:
            board.tally.count("frames")
            board.tally.count("bytes", len(data))
            board.tally.count("tokens", self.tokens - self.timed)
            if self._last is not None:
                board.tally.time("between", now - self._last)
        if not self.timed:
            board.time("first", self.due, now)
        if plan.exact:
            for k in range(self.timed, self.tokens):
                board.time("late", self.due + k / plan.rate, now)
        self.timed = self.tokens
        self._last = now

    def broken(self) -> None:
        """What comes next doesn't follow the last text: something else came between, or the connection was lost."""
        self._last = None

    def again(self) -> None:
        """All of it comes again, if the server has any of it."""
        self.tokens = 0
        if not self.board.plan.exact:
            self.timed = min(self.timed, 1)  # how many pieces it comes in again, nobody knows
        self.run = None
        self.taken = self.told = False
        self.broken()

    def stop(self, now: float) -> None:
        """The user stops it."""
        self.stopped = now
        self.board.count("stopped", now)
        self.broken()

    def done(self, now: float) -> None:
        """It came to its own end."""
        self.ended = self.taken = True
        self.board.count("answers", now)
        if self.board.plan.exact:
            self._compare(self.board.plan.tokens)

    def interrupted(self, now: float) -> None:
        """A Stop's ack. Behind a `done` it is of a Stop that came too late, which has none."""
        if self.stopped is not None and not self.ended:
            self.board.time("stop", self.stopped, now)
            if not self.timed:
                # Who gives up before the first token has waited too: until the server answered anything at all. Left
                # out, a stall would lose those who lost patience in it.
                self.board.time("first", self.due, now)
        self.ended = self.taken = True

    def failed(self, code: str) -> None:
        """The run ended as an error."""
        self.ended = self.taken = True
        self.board.tally.fault(f"an answer failed: {code or 'no code'}")

    def receipt(self, now: float, chars: int | None, closed: bool | None) -> None:  # noqa: FBT001 - a field's value
        """`chars`: of all that was written. `closed`: the connection to the provider; None: there was none."""
        if self.stopped is None:
            return
        self.board.time("settled", self.stopped, now)
        if closed:
            self.board.time("closed", self.stopped, now)
        elif closed is not None:
            self.board.tally.fault("a receipt says that the provider's connection is still open")
        if self.board.plan.exact and chars is not None:
            self._compare(chars // len(TOKEN))

    def _compare(self, written: int) -> None:
        """Count what was written and never came, and what came and was never written."""
        if self.tokens < written:
            self.board.tally.count("lost", written - self.tokens)
        elif self.tokens > written:
            self.board.tally.count("doubled", self.tokens - written)

    @property
    def complete(self) -> bool:
        """Whether all that is measured of it has come."""
        plan = self.board.plan
        if self.stopped is not None or not self.timed:
            return False
        return not plan.exact or self.timed >= min(plan.tokens, (self.board.end - self.due) * plan.rate)

    def leave(self, now: float) -> None:
        """Note what had not come: how long it has been due counts, or the worst would be left out."""
        board, plan = self.board, self.board.plan
        if self.complete:
            return
        if not self.timed:
            board.unanswered(self.due, now)
        elif plan.exact and self.stopped is None and not self.ended:
            for k in range(self.timed, plan.tokens):
                board.time("late", self.due + k / plan.rate, max(now, self.due + k / plan.rate))
            if self._last is not None:
                board.tally.time("between", now - self._last)
        if self.stopped is not None and not self.ended:
            board.time("stop", self.stopped, now)
