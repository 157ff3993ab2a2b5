"""A client of a scenario: its connection, all frames that came, and how far they were looked at.

The one rule: it does what it is told and nothing else: no coming back, no retry. Events and answers are two orders,
because an answer may overtake events: to wait for one skips nothing of the other.

The end of a connection is a frame too (`closed`), and so is an answer by HTTP where a stream was asked for (`http`):
both belong to both orders.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from ..events import Request, Resolved
from ..testing.invariants import Broken
from .judge import Judge
from .patterns import frame_pattern, matches
from .wire import Ended, Socket, decode, encode

Frame: TypeAlias = dict[str, Any]
ENDS = ("closed", "http")
ANSWERS = frozenset({"session", "reset", "accepted", "rejected", "pong"})


class Got(Struct, frozen=True):
    """A frame that came or was sent, and when."""

    frame: Frame
    at: float
    sent: bool = False


class Feed(Protocol):
    """A stream over HTTP that is read."""

    async def stop(self) -> None:
        """Leave it."""
        ...


class Client:
    """One client. It may have several connections, one after the other."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.judge = Judge()
        self.broken: Broken | None = None
        """The first promise that was broken."""
        self.session: Frame = {}
        """The last `session` frame, with the token of the first."""
        self.last_id = ""
        """Of the last event of an SSE stream."""
        self.log: list[Got] = []
        """Everything on this connection, both ways."""
        self.frames: list[Got] = []
        """What came on it."""
        self.open = False
        self.socket: Socket | None = None
        self.feed: Feed | None = None
        self.subprotocols: tuple[str, ...] = ()
        self.headers: dict[str, str] = {}
        self.news = asyncio.Event()
        self._clock = clock
        self._events = 0
        self._answers = 0
        self._left: list[Socket] = []
        self._past: frozenset[str] = frozenset()
        """Runs that were over when this client last said something: what it waits for is not in them."""
        self._replied: set[str] = set()

    # The connection

    def begin(self) -> None:
        """A new connection: what came on the one before is no longer waited for."""
        if self.socket is not None:
            self._left.append(self.socket)
        self.socket, self.feed = None, None
        self.log, self.frames, self._events, self._answers = [], [], 0, 0
        self.open = True

    def taker(self, url: str) -> Socket:
        """A socket whose messages come here, as long as it is this client's."""
        sock = Socket(
            url,
            lambda message: self._message(message) if self.socket is sock else None,
            lambda how: self._ended(how) if self.socket is sock else None,
        )
        self.socket = sock
        return sock

    def come_back(self, *, forget: bool = False) -> Frame:
        """The cursor to come back with; `forget`: none, and nothing is kept."""
        back = self.judge.come_back()
        if not forget:
            return back
        self.judge = Judge()
        return {}

    def refused(self, frame: Frame) -> None:
        """The handshake was answered by HTTP."""
        self.socket = None
        self.over(frame)

    async def leave(self) -> None:
        """Cut everything off."""
        for sock in (*self._left, self.socket):
            if sock is not None:
                sock.reset()
                await sock.done()
        if self.feed is not None:
            await self.feed.stop()

    def send(self, frame: Frame) -> None:
        """Send a frame of the protocol."""
        if self.socket is not None:
            self.sent(frame)
            if frame.get("type", "message") == "message":
                self._past = frozenset(view.run for view in self.judge.views() if view.ending is not None)
            elif frame["type"] == "reply":
                self._replied.add(frame.get("request", ""))
            self.socket.send(encode(frame, self.socket.subprotocol))

    def sent(self, frame: Frame) -> None:
        """Note what was sent."""
        self.log.append(Got(frame, self._clock(), sent=True))

    def _message(self, message: str | bytes) -> None:
        try:
            frame = decode(message)
        except (msgspec.MsgspecError, UnicodeError) as error:
            self._break(Broken(f"expected JSON or MessagePack, got {message[:200]!r}: {error}"))
            return
        self.take(frame)

    def _ended(self, how: Ended) -> None:
        self.open = False
        self._note({"type": "closed", "code": how.code, "reason": how.reason})

    def take(self, frame: Any) -> None:
        """A frame came."""
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):  # pyright: ignore[reportUnknownMemberType]
            self._break(Broken(f"expected a frame with a type, got {frame!r}"))
            return
        made: Frame = frame  # pyright: ignore[reportUnknownVariableType]
        if made["type"] == "session":
            self.session = {"token": self.session.get("token")} | made
        self._note(made)
        try:
            self.judge.take(made)
        except Broken as broken:
            self._break(broken)

    def over(self, frame: Frame) -> None:
        """A stream over HTTP has ended, or was none."""
        self.open = False
        self._note(frame)

    def _note(self, frame: Frame) -> None:
        got = Got(frame, self._clock())
        self.log.append(got)
        self.frames.append(got)
        self.news.set()

    def _break(self, broken: Broken) -> None:
        self.broken = self.broken or broken
        self.news.set()

    # Looking

    def seek(self, pattern: str | Frame, passed: list[Frame]) -> Got | None:
        """The next frame that looks like this, which with those before it is then looked at. Frames that were looked at
        and are something else are added to `passed`. None: it has not come yet, and nothing was passed.
        """
        fields = frame_pattern(pattern)
        events, answers = _orders(fields)
        over: list[Frame] = []
        start = min(self._events, self._answers)
        for i, got in enumerate(self.frames[start:], start):
            event, answer = _belongs(got.frame)
            if not ((events and event and i >= self._events) or (answers and answer and i >= self._answers)):
                continue
            if self._looks_like(fields, got.frame, i):
                if event and events:
                    self._events = i + 1
                if answer and answers:
                    self._answers = i + 1
                passed.extend(over)
                return got
            over.append(got.frame)
        return None

    def ahead(self, pattern: str | Frame) -> list[Frame]:
        """What has come that `seek` would pass before its frame, so far."""
        fields = frame_pattern(pattern)
        events, answers = _orders(fields)
        start = min(self._events, self._answers)
        return [
            got.frame
            for i, got in enumerate(self.frames[start:], start)
            for event, answer in [_belongs(got.frame)]
            if (events and event and i >= self._events) or (answers and answer and i >= self._answers)
        ]

    def has(self, pattern: str | Frame) -> bool:
        """Whether such a frame has come on this connection, in a run that this client may wait for."""
        fields = frame_pattern(pattern)
        return any(
            self._looks_like(fields, got.frame, i)
            for i, got in enumerate(self.frames)
            if got.frame.get("run") not in self._past
        )

    @property
    def chars(self) -> int:
        """Characters of the newest run that has begun and that this client may wait for."""
        views = [view for view in self.judge.views() if view.started and view.run not in self._past]
        return len(views[-1].text()) if views else 0

    @property
    def request(self) -> str:
        """The newest request of the agent's that is open, as far as this client knows; empty where there is none."""
        closed = {event.request for event in self.judge.events if isinstance(event, Resolved)} | self._replied
        asked = [event.request for event in self.judge.events if isinstance(event, Request)]
        return next((request for request in reversed(asked) if request not in closed), "")

    def _looks_like(self, fields: Frame, frame: Frame, index: int) -> bool:
        rest = {key: value for key, value in fields.items() if key != "text"}
        if not matches(rest, frame):
            return False
        return "text" not in fields or ("run" in frame and matches(fields["text"], self._text_at(frame, index)))

    def _text_at(self, frame: Frame, index: int) -> str:
        """The text of a frame's run up to that frame, as it came on this connection."""
        return "".join(
            got.frame["data"]
            for got in self.frames[: index + 1]
            if got.frame["type"] == "content" and got.frame["run"] == frame["run"]
        )

    @property
    def run(self) -> str:
        """The newest run that the client has heard of."""
        for got in reversed(self.frames):
            if got.frame["type"] in ("accepted", "user", "start"):
                return got.frame["run"]
        return ""

    def known(self) -> Frame:
        """What `$name` stands for."""
        return self.session | {
            "run": self.run,
            "seq": self.judge.copy.cursor.seq,
            "part": self.judge.copy.cursor.part,
            "epoch": self.judge.copy.epoch or self.session.get("epoch", ""),
            "headers": self.headers,
            "request": self.request,
        }


def _orders(fields: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a pattern is about events, and whether about answers."""
    kind = fields.get("type")
    if not isinstance(kind, str) or kind in ENDS:
        return True, "text" not in fields
    if kind in ANSWERS:
        return False, True
    if kind == "error":  # a run's ending, or the answer to a frame
        return True, True
    return True, False


def _belongs(frame: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a frame is an event, and whether an answer."""
    if frame["type"] in ENDS or frame["type"] == "end":
        return True, True
    return "seq" in frame, "seq" not in frame


SECRETS = ("token", "ticket")
"""Fields that are not shown: a report is passed around."""


def told(log: Sequence[Got], most: int = 10, width: int = 160) -> list[str]:
    """The last of what went both ways, for people."""
    lines: list[str] = []
    for got in log[-most:]:
        frame = got.frame | {key: "…" for key in SECRETS if got.frame.get(key) is not None}
        text = msgspec.json.encode(frame).decode()
        lines.append(f"{'->' if got.sent else '<-'} {text if len(text) <= width else text[: width - 1] + '…'}")
    return lines
