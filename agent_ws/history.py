"""What a model is told: the conversation as the user saw it, folded from the log.

The one rule: a pure function of the events, so history and screen can't disagree, and always valid for a model: roles
alternate, no text is empty, every tool call has a result, and the result tells the truth about what ran.
"""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, cast

import msgspec
from msgspec import Struct

from .events import Content, Event, Fate, SectionStart, ToolInput, ToolResult, ToolRun, ToolStart, User
from .fold import Runs, RunView


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

OUTCOMES = {
    "denied": "[refused by the user: it did not run]",
    "timeout": "[stopped: it took too long]",
}
"""The same of a call that came to no output for another reason."""


GO_ON = (
    "[Your answer above was cut off, and the user wants the rest. Go on exactly where it ends, in the middle of a word "
    "if it ends there: repeat nothing, introduce nothing, and begin with a space or a line break where one is missing.]"
)
"""What a model reads as the user's words where its last answer is to go on."""


class History:
    """The history of a log that grows: what was told of a run is not worked out again until the run changes."""

    def __init__(self) -> None:
        self._runs = Runs()
        self._told: dict[str, tuple[int, tuple[Message, ...]]] = {}
        """Of each run: what was told, and how the view was marked then."""

    def take(self, events: Iterable[Event]) -> None:
        """Take the log's next events."""
        for event in events:
            self._runs.take(event)

    def messages(self) -> tuple[Message, ...]:
        """What a model is told of the runs that began: the user's words and, of each answer, what the user saw."""
        messages: list[Message] = []
        for view in self._runs.views():
            if view.started:
                told = self._tell(view)
                if view.continues is not None and told and _goes_on(view):
                    told = (_grown(messages, told[0]), *told[1:])
                for message in told:
                    _add(messages, message)
        return tuple(messages)

    def kept(self, run: str) -> str:
        """The text of the answer that ends with `run`, as far as the user saw it."""
        return self._runs.kept(run)

    def _tell(self, view: RunView) -> tuple[Message, ...]:
        mark, told = self._told.get(view.run, (-1, ()))
        if mark != view.taken:
            told = _told(view)
            self._told[view.run] = view.taken, told
        return told


def history(events: Iterable[Event]) -> tuple[Message, ...]:
    """The history of a whole log."""
    made = History()
    made.take(events)
    return made.messages()


def _add(messages: list[Message], message: Message) -> None:
    """Append, so that roles alternate."""
    if messages and messages[-1].role == message.role:
        messages[-1] = Message(message.role, messages[-1].parts + message.parts)
    else:
        messages.append(message)


def _goes_on(view: RunView) -> bool:
    """Whether the text of a run stands right behind that of the run that it goes on with: under no heading."""
    first = next((event for event, data in view.pieces() if isinstance(event, Content) and data), None)
    return first is not None and first.agent is None and first.section is None


def _grown(messages: list[Message], more: Message) -> Message:
    """`more`, begun with the text that `messages` end with, which is taken from there: the cut may be in a word."""
    if not messages:
        return more
    last = messages[-1]
    match last.parts, more.parts:
        case (*before, Text(text=kept)), (Text(text=text), *behind) if last.role == more.role == "assistant":
            messages[-1:] = [Message(last.role, tuple(before))] if before else []
            return Message(more.role, (Text(kept + text), *behind))
        case _:
            return more


def continued(past: tuple[Message, ...], said: str) -> tuple[Message, ...]:
    """A history and the user's next words, still valid where it ends with words of the user's that got no answer."""
    if past and past[-1].role == "user":
        return (*past[:-1], Message("user", (*past[-1].parts, Text(said))))
    return (*past, Message("user", (Text(said),)))


def _told(view: RunView) -> tuple[Message, ...]:
    """What a model is told of one run."""
    messages: list[Message] = []

    def add(role: Literal["user", "assistant"], *parts: Part) -> None:
        _add(messages, Message(role, parts))

    first = next((m for m in view.messages if not m.steer), None)
    if first is not None and first.data:
        add("user", Text(first.data))
    left = len(view.text()) if view.seen is None else view.seen
    calls = _calls(view)
    pending: list[ToolOutput] = []
    """Results whose calls were told: they must follow before anything else is said."""
    open_calls: set[str] = set()
    texts: dict[tuple[str | None, str | None], list[str]] = {}
    """Text since the last step, by agent and section: they may have come in turns, and were shown side by side."""
    titles = {event.section: event.title for event in view.events if isinstance(event, SectionStart)}

    def flush_text() -> None:
        told = [
            _titled("".join(text), agent, titles.get(section or ""))
            for (agent, section), text in texts.items()
            if any(map(str.strip, text))
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
                texts.setdefault((event.agent, event.section), []).append(data[:left])
                left -= min(left, len(data))
            case ToolStart(tool=tool) if tool in calls:
                # Every call is told, also one behind the seen prefix: its effects are real whether or not the user
                # saw them.
                flush_text()
                if not open_calls:
                    flush_results()  # the calls before had their results: this one belongs to the model's next step
                open_calls.add(tool)
                call, output = calls[tool]
                add("assistant", call)
                pending.append(output)
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
    return tuple(messages)


def _calls(view: RunView) -> dict[str, tuple[ToolUse, ToolOutput]]:
    """The calls that are told, by id: all but those that were withdrawn."""
    runs = {event.tool: event for event in view.events if isinstance(event, ToolRun)}
    results = {event.tool: event for event in view.events if isinstance(event, ToolResult)}
    written: dict[str, list[str]] = {}
    for event in view.events:
        if isinstance(event, ToolInput):
            written.setdefault(event.tool, []).append(event.data)
    calls: dict[str, tuple[ToolUse, ToolOutput]] = {}
    for event in view.events:
        if isinstance(event, ToolStart):
            tool, result = event.tool, results.get(event.tool)
            if result is not None and result.outcome == "withdrawn":
                continue
            ran = runs.get(tool, None if event.waits else event)
            fate = view.fates.get(tool) if ran is not None else "never_started"
            # One that never ran is told with what the model had asked for: it was refused, or wrong.
            input = ran.input if ran is not None else event.input or _read("".join(written.get(tool, ())))
            calls[tool] = (ToolUse(tool, event.name, input), _output(tool, result, fate))
    return calls


def _read(written: str) -> Any:
    """The input that a model wrote; None where it is not whole, or no object."""
    try:
        input = msgspec.json.decode(written)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return cast("dict[str, Any]", input) if isinstance(input, dict) else None


def _titled(text: str, agent: str | None, title: str | None) -> str:
    """A piece of an answer under the heading that the user saw it under, if there was one."""
    heading = ": ".join(filter(None, (agent, title)))
    return f"## {heading}\n\n{text}" if heading else text


def _output(tool: str, result: ToolResult | None, fate: Fate | None) -> ToolOutput:
    if result is None or result.outcome == "interrupted":
        return ToolOutput(tool, FATES[fate or "cancelled"] or FATES["cancelled"], ok=False)
    if result.outcome == "ok":
        return ToolOutput(tool, result.output or "[no output]", ok=True)
    return ToolOutput(tool, result.output or OUTCOMES.get(result.outcome) or f"[{result.outcome}]", ok=False)
