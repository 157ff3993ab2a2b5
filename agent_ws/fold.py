"""Folds of a log: what a person was shown, what a model is told next, and the same log in fewer events.

The one rule: all of them are pure functions of the events, so history and screen can't disagree. What a model is told
is always valid: roles alternate, no text is empty, every tool call has a result, and the result tells the truth about
what ran.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias

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
    ToolResult,
    ToolStart,
    User,
)

# What a model is told


class Text(Struct, frozen=True, tag="text"):
    """Never empty."""

    text: str


class ToolUse(Struct, frozen=True, tag="tool_use"):
    """A call the model made; the next message has its `ToolOutput`."""

    id: str
    name: str
    input: Any


class ToolOutput(Struct, frozen=True, tag="tool_output"):
    """What a call returned, or in words why it did not."""

    id: str
    output: str
    ok: bool


Part: TypeAlias = Text | ToolUse | ToolOutput


class Message(Struct, frozen=True):
    """One turn of the conversation, in no provider's own format. `user` messages hold what the user said and what
    tools returned.
    """

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


FATES: dict[Fate, str] = {
    "finished": "",
    "finished_after_stop": "[finished after the user stopped the answer; the output was not kept]",
    "cancelled": "[interrupted while running]",
    "running": "[interrupted while running; it could not be stopped and may still finish]",
    "never_started": "[never started]",
}
"""What a model reads as the output of a call that was cut short."""


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

    def text(self) -> str:
        """The whole text of the answer, without what was taken back."""
        return "".join(data for event, data in self.pieces() if isinstance(event, Content))

    def pieces(self) -> list[tuple[Event, str]]:
        """The run's events, each with the text that counts of it: taken-back text is gone from the `Content` that
        brought it.
        """
        pieces: list[tuple[Event, str]] = []
        for event in self.events:
            if isinstance(event, Status) and event.state == "reset":
                left = event.chars
                for i in range(len(pieces) - 1, -1, -1):
                    made, data = pieces[i]
                    if left and isinstance(made, Content) and made.agent == event.agent:
                        pieces[i] = (made, data[: max(0, len(data) - left)])
                        left -= min(left, len(data))
            pieces.append((event, event.data if isinstance(event, Content) else ""))
        return pieces


def runs(events: Iterable[Event]) -> list[RunView]:
    """The runs of a log, in the order in which they began; those that never did come in the order of their messages."""
    views: dict[str, RunView] = {}
    steers: dict[str, User] = {}
    home: dict[str, str] = {}
    for event in events:
        view = views.get(event.run)
        if view is None:
            view = views[event.run] = RunView(event.run, [], [])
        match event:
            case User(id=message):
                before = home.get(message)
                if before is not None and (message in steers or not views[before].started):  # it moves
                    views[before].messages = [m for m in views[before].messages if m.id != message]
                    steers.pop(message, None)
                home[message] = event.run
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
    return list(views.values())


def history(events: Iterable[Event]) -> tuple[Message, ...]:
    """What a model is told of the runs that began: the user's words and, of each answer, what the user saw."""
    messages: list[Message] = []

    def add(role: Literal["user", "assistant"], *parts: Part) -> None:
        if messages and messages[-1].role == role:
            messages[-1] = Message(role, messages[-1].parts + parts)
        elif parts:
            messages.append(Message(role, parts))

    for view in runs(events):
        if not view.started:
            continue
        _tell(view, add)
    return tuple(messages)


def continued(past: tuple[Message, ...], said: str) -> tuple[Message, ...]:
    """A history and the user's next words, still valid where it ends with words of the user's that got no answer."""
    if past and past[-1].role == "user":
        return (*past[:-1], Message("user", (*past[-1].parts, Text(said))))
    return (*past, Message("user", (Text(said),)))


def _tell(view: RunView, add: Callable[..., None]) -> None:
    """Add one run to a history."""
    first = next((m for m in view.messages if not m.steer), None)
    if first is not None and first.data:
        add("user", Text(first.data))
    left = len(view.text()) if view.seen is None else view.seen
    results = {event.tool: event for event in view.events if isinstance(event, ToolResult)}
    pending: list[ToolOutput] = []
    """Results whose calls were told: they must follow before anything else is said."""
    open_calls: set[str] = set()
    texts: dict[tuple[str | None, str | None], str] = {}
    """Text since the last step, by agent and section: they may have come in turns, and were shown side by side."""
    titles = {event.section: event.title for event in view.events if isinstance(event, SectionStart)}

    def flush_text() -> None:
        told = [
            _titled(text, agent, titles.get(section or "")) for (agent, section), text in texts.items() if text.strip()
        ]
        if told:
            add("assistant", Text("\n\n".join(told)))
        texts.clear()

    def flush_results() -> None:
        if pending:
            add("user", *pending)
            pending.clear()

    for event, data in view.pieces():
        match event:
            case Content() if data and left:
                flush_results()
                texts[event.agent, event.section] = texts.get((event.agent, event.section), "") + data[:left]
                left -= min(left, len(data))
            case ToolStart(tool=tool, name=name, input=value):
                # Every call is told, also one behind the seen prefix: its effects are real whether or not the user
                # saw them.
                flush_text()
                if not open_calls:
                    flush_results()  # the calls before had their results: this one belongs to the model's next step
                open_calls.add(tool)
                add("assistant", ToolUse(tool, name, value))
                pending.append(_output(tool, results.get(tool), view.fates.get(tool)))
            case ToolResult(tool=tool):
                open_calls.discard(tool)
            case User(data=said):
                flush_text()
                flush_results()
                add("user", Text(said))
            case _:
                pass
    flush_text()
    flush_results()
    # Steering that the run ended before taking: the user said it all the same.
    told = {event.id for event in view.events if isinstance(event, User)}
    for message in view.messages:
        if message.steer and message.id not in told:
            add("user", Text(message.data))


def _titled(text: str, agent: str | None, title: str | None) -> str:
    """A piece of an answer under the heading that the user saw it under, if there was one."""
    heading = ": ".join(filter(None, (agent, title)))
    return f"## {heading}\n\n{text}" if heading else text


def _output(tool: str, result: ToolResult | None, fate: Fate | None) -> ToolOutput:
    if result is None or result.outcome == "interrupted":
        return ToolOutput(tool, FATES[fate or "cancelled"] or FATES["cancelled"], ok=False)
    if result.outcome == "ok":
        return ToolOutput(tool, result.output or "[no output]", ok=True)
    return ToolOutput(tool, result.output or f"[{result.outcome}]", ok=False)


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
