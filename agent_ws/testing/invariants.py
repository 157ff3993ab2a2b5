"""What is true of every log and of every client's copy of one, whatever happened: the promises as functions.

The one rule: pure. They look at events and frames alone, so a test of a server, a store or a client in any language
can ask them at any moment, and a random schedule after each step.

    check_log(events)                       # anywhere
    check_log(events, over=True)            # where nothing is going any more
    copy = Copy(); copy.take(frame); ...    # what a client holds, by PROTOCOL.md
    check_copy(copy, events)                # it is what the log says, up to the client's cursor

All raise `Broken`, which says what was expected, what came, and where.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..brackets import Brackets
from ..errors import BracketError
from ..events import ENDINGS, Content, Event, Seen, Settled, Start, Thinking, User
from ..fold import runs
from ..history import Message, Text, ToolOutput, ToolUse, history


class Broken(AssertionError):
    """A promise is broken."""


def check_log(events: Sequence[Event], *, over: bool = False) -> None:
    """Numbers, runs, brackets, receipts and history of a log. `over`: nothing is going, so all runs are complete."""
    going: str | None = None
    by_run: dict[str, _Run] = {}
    for i, event in enumerate(events, 1):
        if event.seq != i:
            raise Broken(f"expected event {i} without a gap or a duplicate, got seq {event.seq}: {event}")
        run = by_run.setdefault(event.run, _Run())
        run.take(event)
        if isinstance(event, Start):
            if going is not None:
                raise Broken(f"expected one run at a time, got the start of {event.run} while {going} is going")
            going = event.run
        elif isinstance(event, ENDINGS) and going == event.run:
            going = None
    for view in runs(events):
        run = by_run[view.run]
        if over and not run.settled:
            raise Broken(f"expected an ending and a receipt of each run, got none of run {view.run}")
        if run.settled is not None and run.settled.chars != len(view.text()):
            raise Broken(f"expected a receipt of {len(view.text())} characters, as the log has, got {run.settled}")
    check_history(history(events))


def check_history(messages: Sequence[Message]) -> None:
    """What a model is told is what every provider takes."""
    for i, message in enumerate(messages):
        expected = "assistant" if i % 2 else "user"
        if message.role != expected:
            raise Broken(f"expected roles that alternate, the user first, got {message.role} as message {i}")
        if not message.parts or any(isinstance(part, Text) and not part.text.strip() for part in message.parts):
            raise Broken(f"expected no empty text, got message {i}: {message}")
        asked = [part.id for part in messages[i - 1].parts if isinstance(part, ToolUse)] if i else []
        told = [part.id for part in message.parts if isinstance(part, ToolOutput)]
        if sorted(asked) != sorted(told):
            raise Broken(f"expected the outputs of the calls {asked} in message {i}, got those of {told}")
        if any(isinstance(part, ToolOutput) for part in message.parts[len(told) :]):
            raise Broken(f"expected tool outputs before anything else in message {i}, got {message}")
    if messages and any(isinstance(part, ToolUse) for part in messages[-1].parts):
        raise Broken(f"expected the output of each tool call, got none of the last: {messages[-1]}")


class _Run:
    """One run, event by event."""

    def __init__(self) -> None:
        self.settled: Settled | None = None
        self._began = False
        self._started = False
        self._ended = False
        self._brackets = Brackets()

    def take(self, event: Event) -> None:
        match event:
            case Settled():
                self._expect(event, self._ended and self.settled is None, "one receipt, after the ending")
                self.settled = event
            case Seen():
                self._expect(event, self._ended, "`seen` after the ending")
            case User(steer=steer):
                self._expect(event, not self._ended, "nothing of a run after its ending")
                self._expect(event, steer is self._began, "one message that begins a run, then steering")
                self._began = True
            case Start():
                self._expect(event, self._began and not self._started, "one start, after the message")
                self._expect(event, not self._ended, "no start after the ending")
                self._started = True
            case _:
                self._expect(event, not self._ended, "one ending, and nothing of the agent after it")
                if isinstance(event, ENDINGS):
                    left = [*self._brackets.requests, *self._brackets.tools, *self._brackets.sections]
                    self._expect(event, not left, f"all brackets closed before the ending, but {left} are open")
                    self._ended = True
                    return
                self._expect(event, self._started, "nothing of the agent before the start")
                if isinstance(event, Content | Thinking):
                    self._expect(event, bool(event.data), "no empty text")
                try:
                    self._brackets.take(event)
                except BracketError as error:
                    raise Broken(f"{error}: {event}") from error

    def _expect(self, event: Event, holds: bool, what: str) -> None:  # noqa: FBT001 - it is what an assertion takes
        if not holds:
            raise Broken(f"expected {what}, got {event}")


# A client's copy


class Cursor(Struct, frozen=True, order=True):
    """How far a copy reaches: all up to `seq`, and `part` characters of the text after it."""

    seq: int = 0
    part: int = 0


class Copy:
    """What a client holds that follows PROTOCOL.md to the letter. Lives longer than its connections.

    A conforming server never makes it drop a frame, so a duplicate or a gap is `Broken` here.
    """

    def __init__(self) -> None:
        self.epoch: str | None = None
        """None: it has no cursor yet, and the whole log comes."""
        self.cursor = Cursor()
        self.events: list[Event] = []
        self.resets: list[str] = []
        """The reasons of all `reset` frames, oldest first."""
        self._may_come = False
        """A `session` frame has opened the stream, and no `reset` is due."""

    def come_back(self) -> dict[str, Any]:
        """The connection is gone; what `hello` says of the cursor on the next one."""
        self._may_come = False
        if self.epoch is None:
            return {}
        part = {"part": self.cursor.part} if self.cursor.part else {}
        return {"epoch": self.epoch, "after": self.cursor.seq, **part}

    def take(self, frame: Mapping[str, Any]) -> None:
        """Take any frame of the server's, in the order of their arrival."""
        match frame["type"]:
            case "session":
                fresh = self.epoch is None
                if fresh and frame["resumed"]:
                    raise Broken(f"expected a stream from the start for a client without a cursor, got {frame}")
                if frame["after"] != (self.cursor.seq if frame["resumed"] else 0):
                    raise Broken(f"expected events after the cursor {self.cursor}, got {frame}")
                self._may_come = fresh or frame["resumed"]
                if self._may_come:
                    self.epoch = frame["epoch"]
            case "reset":
                self.epoch = frame["epoch"]
                self.cursor, self.events = Cursor(), []
                self.resets.append(frame["reason"])
                self._may_come = True
            case _ if "seq" in frame:
                self._append(frame)
            case _:
                pass

    def _append(self, frame: Mapping[str, Any]) -> None:
        if not self._may_come:
            raise Broken(f"expected `session`, or `reset` after a cursor that was not honoured, got {frame}")
        event: Event = msgspec.convert(frame, Event)
        reached = Cursor(event.seq, frame.get("part", 0))
        if reached <= self.cursor:
            raise Broken(f"expected a frame behind {self.cursor}, got a duplicate: {frame}")
        if isinstance(event, Content | Thinking):
            event = type(event)(event.data, event.section, seq=event.seq, run=event.run, agent=event.agent)
        elif reached != Cursor(self.cursor.seq + 1):
            raise Broken(f"expected event {self.cursor.seq + 1} after {self.cursor}, got a gap: {frame}")
        self.cursor = reached
        self.events.append(event)


def check_copy(copy: Copy, events: Sequence[Event]) -> None:
    """The copy is what the log says up to the copy's cursor; only how text is cut into frames may differ."""
    if copy.cursor.seq > len(events):
        raise Broken(f"expected a copy of at most {len(events)} events, got one up to {copy.cursor.seq}")
    upto = list(events[: copy.cursor.seq])
    if copy.cursor.part:
        text = events[copy.cursor.seq] if copy.cursor.seq < len(events) else None
        if not isinstance(text, Content | Thinking):
            raise Broken(f"expected text behind event {copy.cursor.seq}, of which the copy has a part, got {text}")
        upto.append(replace(text, data=text.data[: copy.cursor.part]))
    ours, theirs = _joined(upto), _joined(copy.events)
    for there, here in zip(ours, theirs, strict=False):
        if there != here:
            raise Broken(f"expected in the client's copy {there}, got {here}")
    if len(ours) != len(theirs):
        odd = ours[len(theirs) :] or theirs[len(ours) :]
        raise Broken(
            f"expected {len(ours)} entries in the client's copy, got {len(theirs)}; the first odd one: {odd[0]}"
        )


def _joined(events: Sequence[Event]) -> list[Event]:
    """The events with all adjacent text of one kind joined; text without its number, which depends on the cuts."""
    joined: list[Event] = []
    for event in events:
        if not isinstance(event, Content | Thinking):
            joined.append(event)
            continue
        last = joined[-1] if joined else None
        text = replace(event, seq=0)
        if isinstance(last, Content | Thinking) and replace(last, data="") == replace(text, data=""):
            joined[-1] = replace(last, data=last.data + text.data)
        else:
            joined.append(text)
    return joined
