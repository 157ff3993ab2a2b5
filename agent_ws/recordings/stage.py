"""A recording as it is played to clients, without their sockets.

The one rule: what a client is sent is what the recording has, in its order, byte by byte; what clients do decides only
when. Nothing is played before all that clients had done before it was done again, and then at the recorded pace.

A client that does something else is told what was expected, and nothing happens. It is the same where it says the same:
names that a client chooses itself (a message's `id`) are put into what it is sent.
"""

import math
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from ..errors import FrameError
from ..frames import JSON, Codec, ErrorFrame, Pong
from ..recording import Closed, FromClient, FromServer, Opened, Recording, Refused
from .secrets import FIELDS

PING_S = 1.0
"""How long a recorded ping is waited for: clients send them when they like."""
DEPARTURES = 10
"""That a connection may have; the last closes it."""
SHOWN = 160
"""Characters of a frame in what people are told."""

CHOSEN = {
    "hello": {"token", "ticket", "after", "part", "chunk", "buffer_chars", "buffer_ms", "when_busy"},
    "message": {"id", "when_busy"},
    "interrupt": {"run", "seen", "reason"},
    "pause": {"run"},
    "continue": {"run"},
    "ping": {"data"},
}
"""Fields by which a client that does the same may still differ. `after` has a rule of its own."""

Frame = dict[str, Any]


class Say(Struct, frozen=True):
    """Send this WebSocket message now."""

    message: str | bytes


class Close(Struct, frozen=True):
    """Close the connection now; `code` 1006: cut it."""

    code: int
    reason: str = ""


class Wait(Struct, frozen=True):
    """Nothing to do before `until`, or until somebody has been heard. None: that alone."""

    until: float | None = None


Step: TypeAlias = Say | Close | Wait


class Part:
    """One recorded connection, as it is played to one client."""

    def __init__(self, c: int, lines: list[int], codec: Codec, *, same: bool) -> None:
        self.c = c
        self.codec = codec
        self.lines = lines
        """Its lines, as places in the recording."""
        self.same = same
        """The client speaks the recorded subprotocol."""
        self.at = 0
        """The next of `lines` to be played."""
        self.greeted = False
        """The client said `hello` where the recorded one began with its message."""
        self.pings: Counter[object] = Counter()
        """Recorded pings that it sent, by what is in them, which have no answer yet."""
        self.departures = 0
        self.over = False
        """The client has gone, or was sent away."""


class Stage:
    """A recording that is played, at `speed` (`math.inf`: as fast as clients take it). `tell` gets a line for people
    whenever a client departs. Times are arguments, of any clock.
    """

    def __init__(self, recording: Recording, speed: float, tell: Callable[[str], None]) -> None:
        self.departures = 0
        self._recording = recording
        self._lines = recording.lines
        self._speed = speed
        self._tell = tell
        self._parts: dict[int, Part] = {}
        """Those that were ever begun, by their connection."""
        self._done: set[int] = set()
        """What clients have done of the recording, and what nobody waits for."""
        self._first = 0
        """The first line that a client still has to do."""
        self._zero = 0.0
        """When `t` was 0."""
        self._names: dict[str, str] = {}
        """Recorded names of messages, and those that stand for them now."""
        self._pongs: dict[tuple[int, object], object] = {}
        """What is in the answer to a recorded ping, by its connection."""

    # Connections

    @property
    def over(self) -> bool:
        """Whether every connection has come and gone."""
        return all(isinstance(line, Closed | FromClient | FromServer) or self._gone(line.c) for line in self._lines)

    def _gone(self, c: int) -> bool:
        return c in self._parts and self._parts[c].over

    def refuses(self, now: float) -> int | None:
        """The HTTP status for a handshake that was refused, or is one too many; None where it is to be accepted."""
        place = self._next()
        line = None if place is None else self._lines[place]
        if place is None or line is None:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if not isinstance(line, Refused):
            return None
        self._do(place, now)
        self._parts[line.c] = part = Part(line.c, [], JSON, same=True)
        part.over = True
        return line.status

    def connect(self, codec: Codec, now: float) -> Part | None:
        """A client comes. None: the recording has no more."""
        place = self._next()
        line = None if place is None else self._lines[place]
        if place is None or not isinstance(line, Opened):
            return None
        self._do(place, now)
        lines = [i for i, other in enumerate(self._lines) if other.c == line.c and i != place]
        part = self._parts[line.c] = Part(line.c, lines, codec, same=codec.binary == line.binary)
        return part

    def _next(self) -> int | None:
        """Where the next connection begins."""
        for i, line in enumerate(self._lines):
            if isinstance(line, Opened | Refused) and line.c not in self._parts:
                return i
        return None

    def leave(self, part: Part, now: float) -> None:
        """The client has gone."""
        if part.over or self._parts.get(part.c) is not part:
            return
        part.over = True
        undone = [i for i in part.lines if isinstance(self._lines[i], FromClient) and i not in self._done]
        for i in undone:
            self._do(i, now)  # nobody waits for it any more
        unsent = [i for i in part.lines[part.at :] if isinstance(self._lines[i], FromServer)]
        left = [i for i in sorted(undone + unsent) if _kind(self._lines[i]) not in ("ping", "pong")]
        expected = left[0] if left else None
        if expected is not None:
            self._depart(part, expected, "the end of the connection")

    # What a client does

    def hear(self, part: Part, message: str | bytes, now: float) -> list[Step]:
        """A client sent this. Returns what it is answered out of turn."""
        frame = _read(message)
        if frame.get("type") == "ping" and self._expected(part, ping=True) is None:
            return [self._pong(part, frame)]
        place = self._expected(part, ping=frame.get("type") == "ping")
        if place is None:
            return self._refuse(part, place, frame)
        recorded = self._frame(place)
        if not self._heard_before(part):
            if recorded.get("type") == "message" and _is_plain_hello(frame):
                part.greeted = True
                return []
            if _is_plain_hello(recorded) and frame.get("type") == "message":  # it stands for a `hello` too
                self._do(place, now)
                return self.hear(part, message, now)
        if not (_same(recorded, frame) if recorded else self._message(place) == message):
            return self._refuse(part, place, frame)
        for earlier in part.lines:
            if earlier < place and isinstance(self._lines[earlier], FromClient):
                self._done.add(earlier)  # pings that this client doesn't send
        self._do(place, now)
        if frame.get("type") == "ping":
            part.pings[recorded.get("data")] += 1
            self._pongs[part.c, recorded.get("data")] = frame.get("data")
        self._learn(place, recorded, frame)
        return []

    def _expected(self, part: Part, *, ping: bool) -> int | None:
        """What the client is to do next; with `ping` only where that is one, without it what comes behind pings."""
        for i in part.lines:
            if isinstance(self._lines[i], FromClient) and i not in self._done:
                if _kind(self._lines[i]) == "ping":
                    if ping:
                        return i
                    continue
                return None if ping else i
        return None

    def _heard_before(self, part: Part) -> bool:
        return any(isinstance(self._lines[i], FromClient) and i in self._done for i in part.lines)

    def _refuse(self, part: Part, place: int | None, frame: Frame) -> list[Step]:
        told = self._depart(part, place, _shown(frame) or "something else")
        stranger = "session" in frame and not self._heard_before(part)
        code = "session_not_found" if stranger else "bad_frame"
        error = FrameError(f"This is a recording: {told}", code=code)
        steps: list[Step] = [Say(self._encode(part, ErrorFrame(code, str(error))))]
        part.departures += 1
        if not self._heard_before(part) or part.departures >= DEPARTURES:
            self._release(part)
            steps.append(Close(error.close or 4400, code))
        return steps

    def _release(self, part: Part) -> None:
        """Send a client away: another one may play what it hasn't begun."""
        if self._heard_before(part):
            return
        part.over = True
        del self._parts[part.c]

    def _depart(self, part: Part, place: int | None, got: str) -> str:
        self.departures += 1
        what = "nothing more" if place is None else _shown(self._frame(place)) or "a message that is no frame"
        line = len(self._lines) - 1 if place is None else place
        told = f"expected {what}, got {got}"
        self._tell(f"{self._recording.place(line)} (connection {part.c}): {told}")
        return told

    def _learn(self, place: int, recorded: Frame, frame: Frame) -> None:
        """Know by which names the client says the same."""
        if recorded.get("type") == "message" and "id" in frame:
            name = recorded.get("id") or self._given(place, recorded.get("data"))
            if name is not None and name != frame["id"]:
                self._names[name] = frame["id"]

    def _given(self, place: int, data: Any) -> str | None:
        """The name that the recorded server gave a message without one."""
        for line in self._lines[place:]:
            if isinstance(line, FromServer) and (frame := line.value).get("type") == "user" and frame["data"] == data:
                return frame.get("id")
        return None

    def _do(self, place: int, now: float) -> None:
        """A client has done what it did at `place`: what follows is that much later."""
        self._done.add(place)
        self._zero = now - self._lines[place].t / self._speed

    # What a client is sent

    def step(self, part: Part, now: float) -> Step:
        """What to do next for a client."""
        self._go_on(now)
        while part.at < len(part.lines) and not part.over:
            place = part.lines[part.at]
            line = self._lines[place]
            match line:
                case FromServer():
                    pass
                case Closed(by="server"):
                    pass
                case _:
                    part.at += 1
                    continue
            if place > self._first and not (part.greeted and _kind(line) == "session"):
                return self._patience()
            due = self._zero + line.t / self._speed
            if now < due:
                return Wait(due)
            part.at += 1
            if isinstance(line, Closed):
                part.over = True
                return Close(line.code, line.reason)
            if (said := self._said(part, place)) is not None:
                return Say(said)
        return Wait()

    def _go_on(self, now: float) -> None:
        """Find the first line that a client still has to do."""
        while self._first < len(self._lines):
            line = self._lines[self._first]
            if isinstance(line, Opened | Refused | FromClient) and self._first not in self._done:
                if _kind(line) != "ping" or now < self._until(self._first):
                    return
                self._done.add(self._first)
            self._first += 1

    def waits_for(self, part: Part) -> str:
        """What it waits for, for people."""
        if self._first >= len(self._lines):
            return ""
        line = self._lines[self._first]
        what = "to be opened" if isinstance(line, Opened | Refused) else f"to send {_shown(self._frame(self._first))}"
        return f"{self._recording.place(self._first)}: connection {part.c} waits for connection {line.c} {what}"

    def _until(self, place: int) -> float:
        return self._zero + self._lines[place].t / self._speed + PING_S

    def _patience(self) -> Wait:
        """Wait for what a client has to do; for a ping not for ever."""
        return Wait(self._until(self._first) if _kind(self._lines[self._first]) == "ping" else None)

    def _said(self, part: Part, place: int) -> str | bytes | None:
        """A recorded message in the client's words. None: the answer to a ping that did not come."""
        frame = self._frame(place)
        changed = False
        match frame.get("type"):
            case "pong":
                data = frame.get("data")
                if not part.pings[data]:
                    return None
                part.pings[data] -= 1
                if self._pongs[part.c, data] != data:
                    frame["data"], changed = self._pongs[part.c, data], True
            case "accepted" | "rejected" | "user" | "status":
                if frame.get("id") in self._names:
                    frame["id"], changed = self._names[frame["id"]], True
            case _:
                pass
        if frame and (changed or not part.same):
            return self._encode(part, frame)
        return self._message(place)

    def _message(self, place: int) -> str | bytes:
        line = self._lines[place]
        assert isinstance(line, FromClient | FromServer)  # noqa: S101 - the others are no messages
        return line.message(binary=self._recording.connections[line.c].binary)

    def _frame(self, place: int) -> Frame:
        line = self._lines[place]
        return _long(line.value) if isinstance(line, FromClient | FromServer) else {}

    def _pong(self, part: Part, frame: Frame) -> Say:
        return Say(self._encode(part, Pong(frame.get("data"))))

    def _encode(self, part: Part, frame: Any) -> str | bytes:
        data = (msgspec.msgpack if part.codec.binary else msgspec.json).encode(frame)
        return data if part.codec.binary else data.decode()


def _read(message: str | bytes) -> Frame:
    """A client's frame in its long form; an empty one where it is none."""
    try:
        value = msgspec.json.decode(message) if isinstance(message, str) else msgspec.msgpack.decode(message)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return _long(value) if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownArgumentType]


def _long(frame: Frame) -> Frame:
    if "type" not in frame and isinstance(frame.get("message"), str):
        return {"type": "message", "data": frame["message"]} | {k: v for k, v in frame.items() if k != "message"}
    return frame


def _kind(line: object) -> str:
    return line.value.get("type", "") if isinstance(line, FromClient | FromServer) else ""


def _is_plain_hello(frame: Frame) -> bool:
    return frame.get("type") == "hello" and frame.get("session") is None


def _same(recorded: Frame, frame: Frame) -> bool:
    kind = recorded.get("type", "")
    chosen: set[str] = CHOSEN.get(kind, set())

    def told(frame: Frame) -> Frame:
        return {key: value for key, value in frame.items() if key not in chosen and value is not None}

    if told(recorded) != told(frame):
        return False
    # Who has more than the recorded client had drops what comes again; who has less would miss something.
    return kind != "hello" or _cursor(frame) >= _cursor(recorded)


def _cursor(hello: Frame) -> tuple[float, float]:
    after = hello.get("after")
    return (-math.inf if after is None else after, hello.get("part") or 0)


def _shown(frame: Frame) -> str:
    """A frame in what people are told, without what may be a secret. An empty one: nothing."""
    told = {key: value for key, value in frame.items() if key not in FIELDS}
    text = msgspec.json.encode(told).decode() if frame else ""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
