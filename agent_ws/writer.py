"""The one way into the log for a run.

The one rule: the ending is written once, closes every bracket, and is a fence: after it every write raises `Fenced`,
whoever tries and whatever thread or swallowed cancellation it comes from. So "stopped" is true the moment it is said.

Not a cancellation point anywhere. Must not know: tasks, sessions, what made the text.
"""

from collections.abc import Callable
from typing import Never

import msgspec
from msgspec.structs import replace

from .brackets import Brackets
from .errors import Fenced, RunError
from .events import (
    EMITTED,
    Content,
    Emitted,
    Ending,
    Event,
    Fate,
    SectionEnd,
    SectionOutcome,
    SectionStart,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    ToolStart,
)
from .log import Log
from .settings import Limits

PIECE = 16_384
"""Characters of text in one event at most: a frame must fit into what a client's library takes by default."""


class _Stretch:
    """Adjacent text of one agent in one section, or in none."""

    __slots__ = ("agent", "section", "size")

    def __init__(self, agent: str | None, section: str | None, size: int) -> None:
        self.agent = agent
        self.section = section
        self.size = size


class Writer:
    """Writes the events of one run, in the order of the calls."""

    def __init__(
        self, log: Log, run: str, *, limits: Limits, wall: Callable[[], float], tick: Callable[[], float]
    ) -> None:
        self._log = log
        self._run = run
        self._most_events, self._most_chars = limits.run_events, limits.run_chars
        self._wall = wall
        self._tick = tick
        self.brackets = Brackets()
        self.fenced = False
        self.events = 0
        """Writes by the agent. Zero means: it has said nothing yet."""
        self.touched = tick()
        """When the agent last wrote, on the loop's clock."""
        self.tool_since: dict[str, float] = {}
        """Open tool calls and when they began, on the loop's clock."""
        self.chunks = 0
        self.ran = 0
        """Tool calls that have begun to run."""
        self.streamed = True
        """Whether the whole answer was streamed."""
        self.outliving: list[str] = []
        """Tool calls whose work goes on without the run's task; twice where two pieces of it do."""
        self._text: dict[str | None, list[_Stretch]] = {}
        """What each agent's text that counts consists of."""
        self._last: _Stretch | None = None
        """What text continues, where the last is content that is in no section, and is heard. None: `text` knows."""
        self._thought: dict[str | None, int] = {}
        self._written = 0
        self._fates: dict[str, Fate] = {}
        self._late: set[str] = set()
        self._silenced: set[tuple[str, str]] = set()

    @property
    def chars(self) -> int:
        """Characters of text that the run has written and not taken back."""
        return sum(stretch.size for text in self._text.values() for stretch in text)

    def size(self, agent: str | None) -> tuple[int, int]:
        """Characters of an agent's text and of its thinking that were not taken back."""
        return sum(stretch.size for stretch in self._text.get(agent, ())), self._thought.get(agent, 0)

    def write(self, item: "str | Emitted", agent: str | None = None) -> None:
        """Write what an agent produced. `agent` labels it, unless it carries a label of its own.

        Raises `Fenced` after the ending, `BracketError` for an event out of place, `RunError` past a limit.
        """
        if isinstance(item, str):
            last, size = self._last, len(item)
            if (
                last is not None
                and last.agent == agent
                and 0 < size <= PIECE
                and item.isascii()
                and self.events < self._most_events
                and self._written + size <= self._most_chars
            ):
                # The short way, on which nearly every token is: nothing has happened since the last one for which
                # `text` would do anything else.
                self.touched = self._tick()
                self.events += 1
                self.chunks += 1
                self._written += size
                last.size += size
                self._log.continue_text(item)
            else:
                self.text(Content, item, agent)
            return
        if not isinstance(item, EMITTED):  # pyright: ignore[reportUnnecessaryIsInstance] - agents are user code
            raise RunError(
                f"expected an agent to produce str or one of {', '.join(e.__name__ for e in EMITTED)}, "
                f"got {type(item).__name__}",
                code="bad_event",
            )
        label = item.agent or agent
        match item:
            case Content(data=data, section=section):
                self.text(Content, data, label, section)
            case Thinking(data=data, section=section):
                self.text(Thinking, data, label, section)
            case SectionEnd(section=section) if ("section", section) in self._silenced:
                pass  # it was skipped, and closed then
            case Status(state="reset") if not (self.fenced or self._is_silenced(label, None)):
                self._take_back(item, label)
            case SectionStart(section=section) if not (self.fenced or self._is_silenced(label, None)):
                self._silenced.discard(("section", section))
                self._put(replace(item, agent=label))
                self._forget(section)
            case ToolStart() | ToolRun() | ToolResult():
                # With `timeout` it was cut off in the moment of the stop.
                ended = isinstance(item, ToolResult) and item.outcome != "timeout"
                if ended and (self.fenced or self._is_silenced(label, None)):
                    self.finished_late(item.tool)
                self._put(replace(item, agent=label, at=self._wall()))
            case ToolInput(data=data):
                self._put(replace(item, agent=label, data=_well_formed(data)))
            case _:
                self._put(replace(item, agent=label) if label else item)

    def text(
        self,
        kind: type[Content] | type[Thinking],
        data: str,
        agent: str | None = None,
        section: str | None = None,
    ) -> None:
        """Write a piece of text. The empty one is nothing."""
        if self.fenced:
            self._refuse()
        if not data or (self._silenced and self._is_silenced(agent, section)):
            return
        if section is not None:
            self.brackets.take(kind(data, section))
        if not data.isascii():
            data = _well_formed(data)
        if kind is Content:
            self.chunks += 1
        if len(data) > PIECE:
            for start in range(0, len(data), PIECE):
                self._piece(kind, data[start : start + PIECE], agent, section)
        else:
            self._piece(kind, data, agent, section)

    def _piece(self, kind: type[Content | Thinking], data: str, agent: str | None, section: str | None) -> None:
        size = len(data)
        # As in `_count`: on the path of every token each call counts.
        self.touched = self._tick()
        self.events += 1
        self._written += size
        if self.events > self._most_events or self._written > self._most_chars:
            self._too_long()  # what was written until then counts
        self._log.append_text(kind, self._run, data, agent, section)
        if kind is Content:
            text = self._text.get(agent)
            if text and text[-1].section == section:
                last = text[-1]
                last.size += size
            else:
                last = _Stretch(agent, section, size)
                self._text.setdefault(agent, []).append(last)
            self._last = last if section is None else None
        else:
            self._thought[agent] = self._thought.get(agent, 0) + size
            self._last = None

    def _take_back(self, reset: Status, agent: str | None) -> None:
        self._last = None
        text = self._text.get(agent, [])
        left = reset.chars
        while left and text:
            taken = min(left, text[-1].size)
            text[-1].size -= taken
            left -= taken
            if not text[-1].size:
                text.pop()
        thought = self._thought.get(agent, 0)
        thinking = min(reset.thinking, thought)
        if thinking:
            self._thought[agent] = thought - thinking
        if reset.chars - left or thinking:
            self._put(replace(reset, agent=agent, chars=reset.chars - left, thinking=thinking))

    def finished_late(self, tool: str) -> None:
        """A tool call came to its end after what it belongs to was stopped."""
        self._late.add(tool)

    def put(self, event: Event) -> None:
        """Write an event that is not the agent's own to make, and is no matter of its limits: `Request`, `Resolved`."""
        if self.fenced:
            self._refuse()
        _check_json(event)
        self.brackets.take(event)
        self.touched = self._tick()
        self.events += 1  # else a run that begins with a question had not begun, and was late when the user replied
        self._append(event)

    def skip(self, section: str, outcome: SectionOutcome = "skipped") -> bool:
        """Close an open section and drop what its agent still writes into it, until it begins anew. False: it is not
        open.
        """
        if self.fenced or section not in self.brackets.sections:
            return False
        self.put(SectionEnd(section, outcome, agent=self.brackets.sections[section]))
        self._silenced.add(("section", section))
        return True

    def skip_unopened(self, start: SectionStart, agent: str | None) -> None:
        """Say of a section that is not open that it is skipped. What it had, where it was to begin anew, is taken
        back.
        """
        self.put(replace(start, agent=agent))
        self._forget(start.section)
        self.skip(start.section)

    def hears(self, agent: str | None) -> bool:
        """Whether what an agent writes is still taken."""
        return not (self.fenced or self._is_silenced(agent, None))

    def _forget(self, section: str) -> None:
        """A section begins anew: the text that it had counts no more."""
        for text in self._text.values():
            text[:] = [stretch for stretch in text if stretch.section != section]

    def begin_part(self, agent: str) -> None:
        """Let one of several agents write, also where one of its name has ended before."""
        self._silenced.discard(("agent", agent))

    def end_part(self, agent: str, status: Status) -> None:
        """Close what one of several agents has open, say how it ended, and drop what it still writes. One that was
        stopped has its ending: what it comes to while it goes changes nothing.
        """
        if self._is_silenced(agent, None):
            return
        for event in tuple(self.brackets.close(agent, everyone=False)):
            self.put(event)
        self.put(replace(status, agent=agent))
        self._silenced.add(("agent", agent))
        self._last = None

    def end(self, ending: Ending) -> bool:
        """Write the ending and fence. False: there was one already, and nothing happened."""
        if self.fenced:
            return False
        self._fates = self.brackets.fates()
        for event in tuple(self.brackets.close()):
            self.brackets.take(event)
            self._append(event)
        self._append(replace(ending, at=self._wall()))
        self.fenced = True
        self._last = None
        return True

    def fates(self, *, gone: bool) -> dict[str, Fate]:
        """What became of each tool call, after the ending. `gone`: the run's task is over, so none can be running."""
        fates = dict(self._fates)
        for tool, fate in self._fates.items():
            if tool in self.outliving:
                fates[tool] = "running"
            elif tool in self._late and fate != "never_started":
                fates[tool] = "finished_after_stop"
            elif gone and fate == "running":
                fates[tool] = "cancelled"
        return fates

    def _put(self, event: Event) -> None:
        if self.fenced:
            self._refuse()
        if self._silenced and self._is_silenced(event.agent, getattr(event, "section", None)):
            return
        _check_json(event)
        self.brackets.take(event)
        self._count(0)
        self._append(event)

    def _append(self, event: Event) -> None:
        match event:
            case ToolStart(tool=tool, waits=False) | ToolRun(tool=tool):
                self.tool_since[tool] = self._tick()
                self.ran += 1
            case ToolResult(tool=tool):
                self.tool_since.pop(tool, None)
            case Status(streamed=False):
                self.streamed = False
            case _:
                pass
        self._log.append(replace(event, run=self._run))

    def _count(self, chars: int) -> None:
        self.touched = self._tick()
        self.events += 1
        self._written += chars
        if self.events > self._most_events or self._written > self._most_chars:
            self._too_long()

    def _too_long(self) -> Never:
        raise RunError(
            f"expected at most {self._most_events} events and {self._most_chars} characters from one run, got more",
            code="run_too_long",
        )

    def _is_silenced(self, agent: str | None, section: str | None) -> bool:
        return ("agent", agent) in self._silenced or ("section", section) in self._silenced

    def _refuse(self) -> None:
        raise Fenced(f"run {self._run} has ended: nothing more can be written")


def _well_formed(text: str) -> str:
    """`text` without lone surrogates, which no encoding can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _check_json(event: Event) -> None:
    """Raise `RunError` where an event holds what can't be stored or sent: better at its maker than at every reader."""
    try:
        msgspec.json.encode(event)
        msgspec.msgpack.encode(event)  # takes no integer beyond 64 bits
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RunError(
            f"expected {type(event).__name__} to hold what JSON can say, got {type(error).__name__}", code="bad_event"
        ) from None
