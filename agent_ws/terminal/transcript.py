"""What of a log a terminal shows: what can be printed for good, and what is still on its way.

The one rule: what is printed stays, so it is printed when nothing should change it any more, and in a readable order:
sections and agents that write at the same time come one after the other. What is taken back all the same is told.
"""

from collections.abc import Iterator
from typing import Any, assert_never

import msgspec

from ..events import (
    Content,
    Done,
    Ending,
    Error,
    Event,
    Interrupted,
    Outline,
    Request,
    Resolved,
    SectionEnd,
    SectionStart,
    Seen,
    Settled,
    Start,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    Tools,
    ToolStart,
    User,
)
from .blocks import tail
from .clean import clean, line
from .parts import Item, Line, Part, Passage, Said

LIVE_CHARS = 160
"""Of what is shown while it is on its way, and not for good."""


class _Call:
    """A tool call that has no result yet."""

    def __init__(self, event: ToolStart) -> None:
        self.name = line(event.name, 60)
        self.agent = event.agent
        self.at = event.at
        self.input: Any = event.input
        self.waits = event.waits

    def __str__(self) -> str:
        if self.input is None or self.input == {}:
            return self.name
        return f"{self.name} {line(msgspec.json.encode(self.input).decode(), LIVE_CHARS)}"


class Transcript:
    """The log so far."""

    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}
        """What the person is asked, the first one first."""
        self.ending: Ending | None = None
        """The newest."""
        self._going: dict[str, None] = {}
        self._waiting: dict[str, User] = {}
        """By message: those whose run has not begun."""
        self._parts: list[Part] = []
        self._calls: dict[tuple[str, str], _Call] = {}
        self._thoughts: dict[tuple[str, str | None], str] = {}
        self._working: dict[str, str] = {}
        self._begun: set[tuple[str, str]] = set()
        """Sections, by run."""

    @property
    def busy(self) -> bool:
        """Something is going."""
        return bool(self._going)

    def take(self, event: Event) -> None:
        """Take the log's next event."""
        match event:
            case User(id=message):
                if event.steer:
                    self._part(event).add(Said(clean(event.data)))
                else:
                    self._waiting[message] = event
            case Start(run=run):
                self._going[run] = None
                self._begin(event)
            case Content(data=data, section=section):
                self._end_thought(event)
                self._part(event, section).write(clean(data))
            case Thinking(data=data):
                key = (event.run, event.agent)
                self._thoughts[key] = self._thoughts.get(key, "") + clean(data)
            case ToolStart() | ToolInput() | ToolRun() | ToolResult():
                self._end_thought(event)
                self._call(event)
            case Outline(sections=sections):
                titles = " · ".join(line(each.title or each.section, 60) for each in sections)
                self._part(event).add(Line("note", f"{len(sections)} sections: {titles}"))
            case SectionStart() | SectionEnd():
                self._section(event)
            case Request(request=request, prompt=prompt, kind=kind):
                self._end_thought(event)
                self.requests[request] = event
                self._part(event).add(Line("ask", line(prompt or kind, 2000)))
            case Resolved():
                self._resolve(event)
            case Status():
                self._status(event)
            case Done() | Interrupted() | Error():
                self._end(event)
            case Settled():
                self._settle(event)
            case Tools() | Seen():
                pass
            case _:
                assert_never(event)

    def ready(self) -> Iterator[Item]:
        """What can be printed now, and is not given out again."""
        while self._parts:
            yield from self._parts[0].ready()
            if not self._parts[0].over:
                return
            del self._parts[0]

    def live(self) -> Iterator[Item]:
        """What is on its way, as it is now. `ready` is to be asked first."""
        for i, part in enumerate(self._parts):
            if i == 0 and part.rest.strip():
                yield Passage(tail(part.rest))
            elif i and part.rest.strip():
                yield Line("live", line(f"{part.title or part.agent or ''} {part.rest[-LIVE_CHARS:]}", LIVE_CHARS))
        for thought in self._thoughts.values():
            yield Line("live", f"thinking: {line(thought[-LIVE_CHARS:], LIVE_CHARS)}")
        for call in self._calls.values():
            yield Line("tool", f"{call} …")
        for detail in self._working.values():
            yield Line("live", detail)
        for said in [*(user.data for user in self._waiting.values()), *(s for part in self._parts for s in part.said)]:
            if said:
                yield Line("queued", line(said))

    # The parts

    def _part(self, event: Event, section: str | None = None) -> Part:
        """The part that this goes on with."""
        for part in reversed(self._parts):
            if (part.run, part.agent, part.section) == (event.run, event.agent, section) and not part.done:
                return part
        part = Part(event.run, event.agent, section)
        for other in self._parts:  # what is said outside of the sections, or by nobody in particular, comes before
            if other.run == event.run and other.section is None and other.agent in {None, event.agent}:
                other.done = True
        if event.agent is not None and section is None:
            part.add(Line("title", line(event.agent, 80)))
        self._parts.append(part)
        return part

    def _section(self, event: SectionStart | SectionEnd) -> None:
        if isinstance(event, SectionEnd):
            part = self._part(event, event.section)
            if event.outcome != "done":
                part.add(Line("note", event.outcome))
            part.done = True
            return
        self._end_thought(event)
        for part in self._parts:
            if (part.run, part.section) == (event.run, event.section):
                part.clear()  # it is written anew
                part.done = True
        part = self._part(event, event.section)
        part.title = line(event.title or event.section, 80)
        again = (event.run, event.section) in self._begun
        self._begun.add((event.run, event.section))
        part.add(Line("title", f"{part.title} (again)" if again else part.title))

    def _end_thought(self, event: Event) -> None:
        thought = self._thoughts.pop((event.run, event.agent), "")
        if thought.strip():
            self._part(event).add(Line("note", f"thought for {len(thought)} characters"))
        self._working.pop(event.run, None)

    # What else there is

    def _begin(self, event: Event) -> None:
        """Print what was said, now that it is the run's turn."""
        for message in [message for message, user in self._waiting.items() if user.run == event.run]:
            user = self._waiting.pop(message)
            goes_on = user.continues is not None  # and nothing was said
            self._part(event).add(Line("note", "the answer goes on") if goes_on else Said(clean(user.data)))

    def _call(self, event: ToolStart | ToolInput | ToolRun | ToolResult) -> None:
        key = (event.run, event.tool)
        if isinstance(event, ToolStart):
            self._calls[key] = _Call(event)
            return
        call = self._calls.get(key)
        if call is None:
            return
        if isinstance(event, ToolRun):
            call.input, call.at = event.input, event.at
        elif isinstance(event, ToolResult):
            del self._calls[key]
            if event.outcome != "withdrawn":  # as good as never shown
                took = f" {event.at - call.at:.1f} s" if event.at > call.at > 0 else ""
                output = f": {line(event.output, LIVE_CHARS)}" if event.output.strip() else ""
                self._part(event).add(Line("tool", f"{call} → {event.outcome}{took}{output}"))

    def _resolve(self, event: Resolved) -> None:
        if self.requests.pop(event.request, None) is None:
            return
        match event.outcome, event.data:
            case "replied", {"approved": bool(approved)}:
                words = "approved" if approved else "denied"
            case "replied", {"text": str(text)}:
                words = text
            case outcome, _:
                words = outcome
        self._part(event).add(Line("note", line(words)))

    def _status(self, event: Status) -> None:
        match event.state:
            case "working":
                self._working[event.run] = line(event.detail or "working")
            case "reset":
                self._take_back(event)
            case "steered":
                self._part(event).add(Line("note", "the agent has read what you said"))
            case "finished" | "failed" | "stopped" as state:
                if state != "finished":
                    self._part(event).add(Line("note", f"{state} {line(event.detail)}".strip()))
                for part in self._parts:
                    part.done = part.done or (part.run == event.run and part.agent == event.agent)
            case state:
                self._part(event).add(Line("note", f"{state} {line(event.detail)}".strip()))

    def _take_back(self, event: Status) -> None:
        self._thoughts.pop((event.run, event.agent), None)
        left = event.chars
        for part in reversed(self._parts):
            if part.run == event.run and part.agent == event.agent:
                left = part.take_back(left)
        if left:
            self._part(event).add(Line("note", f"the last {left} characters above were taken back"))

    def _end(self, event: Ending) -> None:
        self.ending = event
        self._begin(event)  # where it never did
        self._going.pop(event.run, None)
        self._working.pop(event.run, None)
        for key in [key for key in self._thoughts if key[0] == event.run]:
            del self._thoughts[key]
        for key in [key for key in self._calls if key[0] == event.run]:
            del self._calls[key]
        for request in [name for name, request in self.requests.items() if request.run == event.run]:
            del self.requests[request]
        match event:
            case Interrupted(reason=reason):
                self._part(event).add(Line("stop", "stopped" if reason == "user" else f"stopped: {line(reason)}"))
            case Error(code=code, message=message):
                self._part(event).add(Line("error", f"{line(message) or 'the run failed'} ({line(code)})"))
            case Done():
                pass
            case _:
                assert_never(event)
        for part in self._parts:
            part.done = part.done or part.run == event.run

    def _settle(self, event: Settled) -> None:
        if not isinstance(self.ending, Interrupted) or event.task in {"finished", "never_started"}:
            return  # nothing that the person could wonder about
        told = [f"{event.task} after {event.stop_ms} ms"]
        if event.upstream_closed is not None:
            told.append(f"the provider's connection is {'closed' if event.upstream_closed else 'open'}")
        told += [f"{line(tool, 40)}: {fate.replace('_', ' ')}" for tool, fate in event.tools.items()]
        part = Part(event.run, None, None)
        part.add(Line("note", ", ".join(told)))
        part.done = True
        self._parts.append(part)
