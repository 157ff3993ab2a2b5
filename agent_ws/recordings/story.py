"""What a client was told, in lines that can be compared: without times, with names in the order of their coming.

The one rule: two stories differ only where a person would say so. How text was cut into frames, how fast it came, and
how far a run got before it was stopped are no differences.

It looks at frames as objects and knows no type of them by heart, so a story of another server's is told as well.
"""

import difflib
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import msgspec

Frame = dict[str, Any]

WIDTH = 100
"""Characters of text in a line."""
TEXT = ("content", "thinking")
ENDINGS = ("done", "interrupted", "error")
CONTROLS = ("session", "reset", "accepted", "rejected", "pong", "error")
"""Frames that answer a connection, where they have no `seq`."""
NOISE = {"type", "seq", "run", "at", "expires", "stop_ms", "chunks", "part"}
"""Fields that are never the same."""
LEFT_OPEN = {"chars", "usage", "tools", "upstream_closed"}
"""Fields of a receipt that depend on when a run was stopped."""
ANSWERED = {"session": ("resumed",), "reset": ("reason",), "accepted": ("id", "outcome"), "pong": ("data",)}
"""What counts of an answer; of the others it is the code."""
NAMED = {"run": "run", "continues": "run", "request": "request", "tool": "tool", "id": "message"}
"""Fields that name something, and what."""


class Held:
    """What one client holds, over all its connections: each goes on where the one before it was lost."""

    def __init__(self) -> None:
        self.session = ""
        self.token = ""
        self.epoch = ""
        self.events: list[Frame] = []
        self.cursor = 0, 0
        """`seq` and `part` of the last event."""
        self.names: dict[str, list[str]] = {}
        """What was named, by its kind, in the order of its coming."""
        self.runs: dict[str, Tally] = {}

    def take(self, frame: Frame) -> None:
        """Take any frame of the server's. One that was held before is dropped."""
        match frame:
            case {"type": "session", "session": str(session), "epoch": str(epoch)}:
                self.session, self.epoch = session, epoch
                self.token = frame.get("token", self.token)
            case {"type": "reset", "epoch": str(epoch)}:
                self.epoch, self.events, self.cursor, self.runs = epoch, [], (0, 0), {}
            case {"seq": int(seq), "type": str(kind), "run": str(run)} if (seq, frame.get("part", 0)) > self.cursor:
                self.cursor = seq, frame.get("part", 0)
                self.events.append(frame)
                self._name(frame)
                self.runs.setdefault(run, Tally()).take(kind, frame)
            case _:
                pass

    def _name(self, frame: Frame) -> None:
        for field, kind in NAMED.items():
            named = frame.get(field)
            if isinstance(named, str) and named not in self.names.setdefault(kind, []):
                self.names[kind].append(named)

    def covers(self, other: "Held") -> bool:
        """Whether this one has come at least as far: each run of the other is over, or as much of it is there."""
        ours, theirs = [*self.runs.values()], [*other.runs.values()]
        return len(ours) >= len(theirs) and all(mine.covers(its) for mine, its in zip(ours, theirs, strict=False))

    def counterpart(self, field: str, name: str, of: "Held") -> str | None:
        """What `name` in `of` is called here. None: it has not come yet."""
        kind = NAMED[field]
        known = of.names.get(kind, [])
        own = self.names.get(kind, [])
        return own[known.index(name)] if name in known and known.index(name) < len(own) else None


class Tally:
    """How far a run has come."""

    def __init__(self) -> None:
        self.chars = 0
        self.kinds: Counter[str] = Counter()
        self.over = False

    def take(self, kind: str, frame: Frame) -> None:
        if kind in TEXT:
            self.chars += len(frame.get("data", ""))
        else:
            self.kinds[kind] += 1
            self.over = self.over or kind in ENDINGS

    def covers(self, other: "Tally") -> bool:
        if other.over:
            # The receipt and what was seen come behind the ending.
            return self.over and all(self.kinds[kind] >= other.kinds[kind] for kind in ("settled", "seen"))
        return self.over or (self.chars >= other.chars and self.kinds >= other.kinds)


class Answers:
    """What one connection was answered, in lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[str, list[str]] = {}

    def take(self, frame: Frame) -> None:
        """Take any frame of the server's."""
        kind = frame.get("type", "")
        if kind in CONTROLS and "seq" not in frame:
            told = {field: frame[field] for field in ANSWERED.get(kind, ("code",)) if field in frame}
            self.lines.append(_line(kind, _renamed(told, self._names)))

    def covers(self, other: "Answers") -> bool:
        """Whether there are at least as many of each kind."""
        return Counter(_kinds(self.lines)) >= Counter(_kinds(other.lines))


def _kinds(lines: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in lines]


class _Run:
    """One run, told: what came before its ending, and from there on."""

    def __init__(self) -> None:
        self.body: list[str] = []
        self.ending: list[str] = []
        self.over = False
        self.stopped = False


def difference(recorded: Held, now: Held, title: str) -> list[str]:
    """What a client holds otherwise now than it did, as a unified diff with `title`; empty: nothing."""
    before, after = _runs(recorded), _runs(now)
    for was, is_ in zip(before, after, strict=False):
        _even(was, is_)
    return compare(_told(before), _told(after), title)


def _told(runs: list[_Run]) -> list[str]:
    return [
        line
        for i, run in enumerate(runs, 1)
        for line in (f"run {i}", *(f"  {line}" for line in [*_wrapped(run.body), *run.ending]))
    ]


def compare(recorded: Sequence[str], now: Sequence[str], title: str) -> list[str]:
    """A unified diff of lines."""
    return [*difflib.unified_diff(recorded, now, f"{title}, recorded", f"{title}, now", lineterm="")]


def _even(was: _Run, is_: _Run) -> None:
    """Leave out what only one of them has come to, where the client left or stopped the run: it may have done so a
    moment earlier or later.
    """
    if not was.over:
        is_.ending = []
    elif not (was.stopped and is_.stopped):
        return
    size = min(len(was.body), len(is_.body))
    for run in (was, is_):
        del run.body[size:]
    if size:
        one, two = was.body[-1], is_.body[-1]
        if one.startswith(two) or two.startswith(one):
            was.body[-1] = is_.body[-1] = min(one, two, key=len)


def _runs(held: Held) -> list[_Run]:
    told = {run: _Run() for run in held.runs}
    names: dict[str, list[str]] = {}
    texts: dict[str, object] = {}
    stopped = {frame["run"] for frame in held.events if frame["type"] == "interrupted"}
    for frame in held.events:
        kind, name = frame["type"], frame["run"]
        run = told[name]
        cut = name in stopped
        if kind in TEXT:
            source = kind, frame.get("agent"), frame.get("section")
            text = str(frame.get("data", ""))
            if texts.get(name) == source:
                run.body[-1] += text
            else:
                about = {field: frame[field] for field in ("agent", "section") if field in frame}
                run.body.append(f"{_line(kind, about)}\n{text}")
            texts[name] = source
            continue
        texts.pop(name, None)
        if kind in ENDINGS:
            run.over, run.stopped = True, cut
        if cut and (frame.get("outcome") == "interrupted" or (kind, frame.get("outcome")) == ("resolved", "cancelled")):
            continue  # written by the ending
        left_out = NOISE | LEFT_OPEN if cut else NOISE
        shown = {field: value for field, value in frame.items() if field not in left_out}
        (run.ending if run.over else run.body).append(_line(kind, _renamed(shown, names)))
    return [*told.values()]


def _renamed(fields: Frame, names: dict[str, list[str]]) -> Frame:
    """The same with names in the order of their coming: `tool 1`."""
    renamed: Frame = {}
    for field, value in fields.items():
        match field, value:
            case "tools", dict():
                fates = cast("Frame", value)
                renamed[field] = {_name("tool", name, names): fate for name, fate in fates.items()}
            case "calls", list():
                renamed[field] = [_renamed(call, names) for call in cast("list[Frame]", value)]
            case _, str() if field in NAMED:
                renamed[field] = _name(NAMED[field], value, names)
            case _:
                renamed[field] = value
    return renamed


def _name(kind: str, name: str, names: dict[str, list[str]]) -> str:
    known = names.setdefault(kind, [])
    if name not in known:
        known.append(name)
    return f"{kind} {known.index(name) + 1}"


def _line(kind: str, fields: Frame) -> str:
    return " ".join([kind, *(f"{field}={msgspec.json.encode(value).decode()}" for field, value in fields.items())])


def _wrapped(body: list[str]) -> list[str]:
    """Lines of which none is too long, so that a diff shows the place."""
    lines: list[str] = []
    for entry in body:
        head, newline, text = entry.partition("\n")
        lines.append(head)
        if newline:
            for line in text.split("\n"):
                lines += [f"| {part}" for part in textwrap.wrap(line, WIDTH, drop_whitespace=False) or [""]]
    return lines
