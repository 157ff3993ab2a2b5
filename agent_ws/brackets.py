"""The bracketing law as a state machine: what is open in one run.

The one rule: `take` accepts exactly the event sequences that the law in `events` allows, and `close` yields what
makes any prefix of one complete. The writer asks it before each event; recovery after a crash replays a log through
it.
"""

from collections.abc import Iterator

from .errors import BracketError
from .events import (
    Content,
    Event,
    Fate,
    Request,
    Resolved,
    SectionEnd,
    SectionStart,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    Tools,
    ToolStart,
)

ID_CHARS = 64
"""What a client may name in a frame, so that it can stop or answer whatever it is shown."""


class Brackets:
    """What one run has opened, closed and announced. Values of the open ones are the agent that opened them."""

    def __init__(self) -> None:
        self.sections: dict[str, str | None] = {}
        self.tools: dict[str, str | None] = {}
        self.requests: dict[str, str | None] = {}
        self.announced: dict[str, str] = {}
        """Tool calls that were announced and have not started: id to name."""
        self.waiting: set[str] = set()
        """Open tool calls that don't run yet."""
        self._used: set[tuple[str, str]] = set()
        self._over: dict[str, Fate] = {}

    def take(self, event: Event) -> None:
        """Note `event`, or raise `BracketError` and change nothing."""
        match event:
            case Content(section=section) | Thinking(section=section):
                if section is not None and section not in self.sections:
                    raise BracketError(f"expected text in an open section, got section {section!r}, which is not open")
            case Tools(calls=calls):
                for call in calls:
                    if ("tool", call.tool) in self._used or call.tool in self.announced:
                        raise BracketError(f"expected a new tool call id, got {call.tool!r} again")
                self.announced.update((call.tool, call.name) for call in calls)
            case ToolStart(tool=tool, waits=waits):
                self._open("tool", tool, event.agent, self.tools)
                self.announced.pop(tool, None)
                if waits:
                    self.waiting.add(tool)
            case ToolInput(tool=tool) | ToolRun(tool=tool):
                if tool not in self.waiting:
                    raise BracketError(f"expected a tool call that waits, got {tool!r}, which does not")
                if isinstance(event, ToolRun):
                    self.waiting.remove(tool)
            case ToolResult(tool=tool, outcome=outcome):
                if outcome == "ok" and tool in self.waiting:
                    raise BracketError(f"expected `tool_run` before the result of {tool!r}, got none")
                self._close("tool", tool, self.tools)
                self._over[tool] = (
                    "never_started"
                    if tool in self.waiting
                    else "cancelled"
                    if outcome in ("interrupted", "timeout")
                    else "finished"
                )
                self.waiting.discard(tool)
            case SectionStart(section=section):
                if section not in self.sections:
                    self._used.discard(("section", section))  # it may begin anew
                self._open("section", section, event.agent, self.sections)
            case SectionEnd(section=section):
                self._close("section", section, self.sections)
            case Request(request=request):
                self._open("request", request, event.agent, self.requests)
            case Resolved(request=request):
                self._close("request", request, self.requests)
            case _:
                pass

    def close(self, agent: str | None = None, *, everyone: bool = True) -> Iterator[Event]:
        """The events that close what is open, innermost kinds first; with `everyone` false only what `agent` opened.

        The state is unchanged until they are taken.
        """
        for request, by in self.requests.items():
            if everyone or by == agent:
                yield Resolved(request, "cancelled", agent=by)
        for tool, by in self.tools.items():
            if everyone or by == agent:
                yield ToolResult(tool, "interrupted", agent=by)
        for section, by in self.sections.items():
            if everyone or by == agent:
                yield SectionEnd(section, "interrupted", agent=by)

    def fates(self) -> dict[str, Fate]:
        """What is known of each tool call now: open ones are `running`, unless they wait."""
        fates = dict(self._over)
        fates.update(dict.fromkeys(self.tools, "running"))
        fates.update(dict.fromkeys((*self.announced, *self.waiting), "never_started"))
        return fates

    def _open(self, kind: str, name: str, agent: str | None, into: dict[str, str | None]) -> None:
        if not 0 < len(name) <= ID_CHARS:
            raise BracketError(f"expected a {kind} id of 1 to {ID_CHARS} characters, got {len(name)}")
        if (kind, name) in self._used:
            raise BracketError(f"expected a new {kind} id, got {name!r} again")
        self._used.add((kind, name))
        into[name] = agent

    def _close(self, kind: str, name: str, out_of: dict[str, str | None]) -> None:
        if name not in out_of:
            raise BracketError(f"expected the end of an open {kind}, got {name!r}, which is not open")
        del out_of[name]
