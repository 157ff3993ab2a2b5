"""Folds of a log: its runs as a person saw them, the same log in fewer events, and what a crash left to be ended.

The one rule: all of them are pure functions of the events.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from .brackets import Brackets
from .events import (
    ENDINGS,
    Content,
    Ending,
    Error,
    Event,
    Fate,
    Interrupted,
    SectionStart,
    Seen,
    Settled,
    Start,
    Status,
    TaskFate,
    Thinking,
    User,
)


class RunView(Struct):
    """One run as a log tells it."""

    run: str
    messages: list[User]
    """What the user said: the message, then all steering."""
    events: list[Event]
    """What the agent did, and the ending, in order; a steering `User` stands where the agent took it."""
    started: bool = False
    ending: Ending | None = None
    seen: int | None = None
    task: TaskFate | None = None
    fates: dict[str, Fate] = {}
    taken: int = 0
    """Rises with everything that changes the view."""

    @property
    def continues(self) -> str | None:
        """The run whose answer this one goes on with; None: it begins one."""
        return next((message.continues for message in self.messages if not message.steer), None)

    @property
    def kept(self) -> str:
        """The text of the answer that the user saw."""
        return self.text()[: self.seen]

    def text(self) -> str:
        """The whole text of the answer, without what was taken back."""
        return "".join(data for event, data in self.pieces() if isinstance(event, Content))

    def pieces(self) -> list[tuple[Event, str]]:
        """The run's events, each with the text that counts of it: taken-back text is gone from the `Content` that
        brought it.
        """
        pieces: list[tuple[Event, str]] = []
        begun: set[str] = set()
        for event in self.events:
            if isinstance(event, SectionStart):
                if event.section in begun:  # anew
                    pieces = [
                        (made, "" if isinstance(made, Content) and made.section == event.section else data)
                        for made, data in pieces
                    ]
                begun.add(event.section)
            elif isinstance(event, Status) and event.state == "reset":
                left = event.chars
                for i in range(len(pieces) - 1, -1, -1):
                    if not left:
                        break
                    made, data = pieces[i]
                    if isinstance(made, Content) and made.agent == event.agent:
                        pieces[i] = (made, data[: max(0, len(data) - left)])
                        left -= min(left, len(data))
            pieces.append((event, event.data if isinstance(event, Content) else ""))
        return pieces


class Runs:
    """The runs of a log, taken event by event."""

    def __init__(self) -> None:
        self._views: dict[str, RunView] = {}
        self._steers: dict[str, User] = {}
        self._home: dict[str, str] = {}

    def views(self) -> list[RunView]:
        """In the order in which they began; those that never did come in the order of their messages. They go on
        changing with what is taken.
        """
        return list(self._views.values())

    def kept(self, run: str) -> str:
        """The text of an answer that the user saw, also of the runs before `run` that it goes on with."""
        text = ""
        view = self._views.get(run)
        while view is not None:
            text = view.kept + text
            view = self._views.get(view.continues or "")
        return text

    def take(self, event: Event) -> None:
        """Take the log's next event."""
        views, steers = self._views, self._steers
        view = views.get(event.run)
        if view is None:
            view = views[event.run] = RunView(event.run, [], [])
        view.taken += 1
        match event:
            case User(id=message):
                before = self._home.get(message)
                if before is not None and (message in steers or not views[before].started):  # it moves
                    views[before].messages = [m for m in views[before].messages if m.id != message]
                    views[before].taken += 1
                    steers.pop(message, None)
                self._home[message] = event.run
                if event.steer:
                    steers[message] = event
                view.messages.append(event)
            case Start():
                view.started = True
                views[event.run] = views.pop(event.run)  # now it is the last that began
            case Status(state="steered", id=message) if message in steers:
                view.events.append(steers.pop(message))
            case Settled(task=task, tools=fates):
                view.task, view.fates = task, fates
            case Seen(chars=chars):
                view.seen = chars if view.seen is None else min(view.seen, chars)
            case _:
                view.events.append(event)
                if isinstance(event, ENDINGS):
                    view.ending = event
                    if isinstance(event, Interrupted):
                        view.seen = event.seen


def runs(events: Iterable[Event]) -> list[RunView]:
    """The runs of a whole log."""
    made = Runs()
    for event in events:
        made.take(event)
    return made.views()


# The same log in fewer events


MERGED = 16_384
"""Characters up to which text is joined: a frame must fit into what a client's library takes by default."""


def merge(events: Iterable[Event]) -> list[Event]:
    """The events with adjacent text joined: the joined event has the last `seq`. No text is lost or moved."""
    merged: list[Event] = []
    batch: list[str] = []
    size = 0
    last: Event | None = None

    def flush() -> None:
        if last is None:
            return
        if len(batch) > 1 and isinstance(last, Content | Thinking):
            kind = type(last)
            merged.append(kind("".join(batch), last.section, seq=last.seq, run=last.run, agent=last.agent))
        else:
            merged.append(last)

    for event in events:
        if isinstance(event, Content | Thinking):
            if (
                isinstance(last, Content | Thinking)
                and type(last) is type(event)
                and last.run == event.run
                and last.agent == event.agent
                and last.section == event.section
                and size + len(event.data) <= MERGED
            ):
                batch.append(event.data)
                size += len(event.data)
                last = event
                continue
            flush()
            batch, size, last = [event.data], len(event.data), event
        else:
            flush()
            batch, last = [], event
    flush()
    return merged


# What a crash left behind


def recover(events: Sequence[Event], at: float) -> list[Event]:
    """The events that end every run which a dead process left open: brackets closed, `error` with code `lost`, the
    receipt.
    """
    views = runs(events)
    by_run: dict[str, Brackets] = {view.run: Brackets() for view in views if view.task is None}
    for event in events:
        if (brackets := by_run.get(event.run)) is not None:
            brackets.take(event)
    written: list[Event] = []
    for view in views:
        if view.task is not None:
            continue
        brackets = by_run[view.run]
        fates: dict[str, Fate] = {
            tool: "cancelled" if fate == "running" else fate for tool, fate in brackets.fates().items()
        }
        if view.ending is None:
            written += [replace(event, run=view.run) for event in brackets.close()]
            written.append(
                Error("lost", "The server stopped while it answered. What you see was kept.", run=view.run, at=at)
            )
        written.append(Settled("lost", run=view.run, at=at, tools=fates, chars=len(view.text())))
    return written
