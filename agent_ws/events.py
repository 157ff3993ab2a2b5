"""The events that a log is made of, and nothing else.

The one rule: an event is a frozen fact. `seq` and `run` are stamped by the log's writer; an agent that makes an event
leaves them out. The bracketing law, which `writer.Writer` enforces so that every printer of events can be stateless:

- a run is `User` .. `Start` .. one ending .. `Settled`;
- `SectionStart`/`SectionEnd`, `ToolStart`/`ToolResult` and `Request`/`Resolved` come in pairs by id, and every pair
  is closed before the ending; an id is opened once a run, but a section that has ended may begin anew;
- `ToolInput` and at most one `ToolRun` lie between the `ToolStart` of a call that waits and its `ToolResult`;
- `Content` and `Thinking` that name a section lie inside it.

Field by field the meaning is in PROTOCOL.md. Must not know: logs, sessions, sockets.
"""

from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

Outcome = Literal["ok", "error", "timeout", "denied", "withdrawn", "interrupted"]
"""How a tool call ended, as its `ToolResult` says. `withdrawn`: the model's attempt that made it failed, it never ran,
and the next attempt knows nothing of it."""
Fate = Literal["finished", "finished_after_stop", "cancelled", "running", "never_started"]
"""What really became of a tool call, as the receipt says."""
SectionOutcome = Literal["done", "skipped", "interrupted"]
RequestKind = Literal["approval", "question", "tool"]
RequestOutcome = Literal["replied", "expired", "cancelled"]
State = Literal["working", "retrying", "fallback", "degraded", "reset", "steered", "finished", "failed", "stopped"]
TaskFate = Literal["finished", "cancelled", "never_started", "abandoned", "lost"]


def _tag(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Base(Struct, frozen=True, kw_only=True, tag=_tag, omit_defaults=True, gc=False):
    """What every event has. `seq` 0 means: not yet in a log."""

    seq: int = 0
    run: str = ""
    agent: str | None = None
    """Which agent speaks, where a run has more than one."""


def shown(value: Any) -> Any:
    """A default that is printed all the same: clients rely on the field."""
    return field(default_factory=lambda: value)


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Tokens as the provider counted them. Zero means: not reported."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        """What has come since a running total was `other`."""
        return Usage(
            input_tokens=self.input_tokens - other.input_tokens,
            output_tokens=self.output_tokens - other.output_tokens,
            cache_read_tokens=self.cache_read_tokens - other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens - other.cache_write_tokens,
        )


class Call(Struct, frozen=True, gc=False):
    """A tool call that an agent announces."""

    tool: str
    """The call's id, unique in its run."""
    name: str


class Section(Struct, frozen=True, gc=False):
    """One entry of an outline."""

    section: str
    """The section's id, unique in its run."""
    title: str


# What the user said


class User(Base, frozen=True):
    """A message was taken for `run`. The same `id` again moves the message to that run."""

    id: str
    data: str
    at: float = 0.0
    steer: bool = False
    """The message is for the run that is going."""
    continues: str | None = None
    """Nothing was said: the answer of this run goes on."""


# The run, as its agent writes it


class Start(Base, frozen=True):
    """The run's agent begins."""

    at: float = 0.0


class Thinking(Base, frozen=True):
    """The model's reasoning: shown apart, never part of the history."""

    data: str
    section: str | None = None
    part: int = 0
    """As `Content.part`."""


class Content(Base, frozen=True):
    """Text of the answer, to be appended to what came before."""

    data: str
    section: str | None = None
    part: int = 0
    """Never in a log. For a client that wants whole words: how many characters behind event `seq` this brings it to."""


class Tools(Base, frozen=True):
    """Calls that the agent means to make. One that never gets a `ToolStart` never ran."""

    calls: tuple[Call, ...]


class ToolStart(Base, frozen=True):
    """A tool call begins; unless it `waits`, the tool runs."""

    tool: str
    name: str
    input: Any = None
    at: float = 0.0
    waits: bool = False
    """The model is still writing the input, or a permission is missing: `ToolRun` tells when it runs."""


class ToolInput(Base, frozen=True):
    """A piece of the input of a call that waits, as the model writes it: JSON text, to be appended."""

    tool: str
    data: str


class ToolRun(Base, frozen=True):
    """A call that waited has its whole input and may run: the tool begins."""

    tool: str
    input: Any = None
    at: float = 0.0


class ToolResult(Base, frozen=True):
    """A tool's end. With `interrupted` it was written by the run's ending; the receipt tells the tool's real fate."""

    tool: str
    outcome: Outcome = shown("ok")
    output: str = ""
    at: float = 0.0


class Outline(Base, frozen=True):
    """The sections that are going to fill in."""

    sections: tuple[Section, ...]


class SectionStart(Base, frozen=True):
    """A section opens; `Content` may name it until it ends. One that has ended begins anew: what it had is taken
    back.
    """

    section: str
    title: str = ""
    redo: bool = False
    """An interrupt may ask for it to be written again."""


class SectionEnd(Base, frozen=True):
    """A section closes."""

    section: str
    outcome: SectionOutcome = shown("done")


class Request(Base, frozen=True):
    """The agent asks the user and waits."""

    request: str
    kind: RequestKind
    prompt: str = ""
    tool: str | None = None
    """The tool call that an approval is about."""
    data: Any = None
    at: float = 0.0
    expires: float = 0.0


class Resolved(Base, frozen=True):
    """A request is over, with the first reply or without one."""

    request: str
    outcome: RequestOutcome
    data: Any = None


class Status(Base, frozen=True):
    """Something to show while the run goes on."""

    state: State
    detail: str = ""
    attempt: int = 0
    chars: int = 0
    """With `reset`: how many characters of this agent's text in the run, counted from its end, are taken back."""
    thinking: int = 0
    """The same of its thinking."""
    id: str = ""
    """With `steered`: the message that the agent took."""
    streamed: bool = True


# Endings: exactly one a run


class Done(Base, frozen=True):
    """The agent finished."""

    at: float = 0.0
    stop_reason: str = ""
    usage: Usage | None = None
    streamed: bool = True
    """False: a part of the answer came in one piece, because streaming it had failed."""


class Interrupted(Base, frozen=True):
    """Somebody stopped the run. Nothing that its agent writes later is ever seen."""

    at: float = 0.0
    reason: str = shown("user")
    seen: int | None = None
    """How many characters of the run's text the user saw; None: all that was written."""


class Error(Base, frozen=True):
    """The run failed. `code` is a key of `errors.CODES`; `message` is safe to show."""

    code: str
    message: str = ""
    at: float = 0.0


# After the ending, by the run


class Settled(Base, frozen=True):
    """The receipt: the run's task is really gone, or given up."""

    task: TaskFate
    at: float = 0.0
    stop_ms: int = shown(0)
    upstream_closed: bool | None = None
    tools: dict[str, Fate] = {}
    chunks: int = shown(0)
    """How many pieces of text the agent made: the nearest thing to tokens that every agent has."""
    chars: int = shown(0)
    seen: int | None = None
    usage: Usage | None = None


class Seen(Base, frozen=True):
    """A client told after the ending how much of the answer the user had seen."""

    chars: int


Ending: TypeAlias = Done | Interrupted | Error
Emitted: TypeAlias = (
    Content
    | Thinking
    | Tools
    | ToolStart
    | ToolInput
    | ToolRun
    | ToolResult
    | Outline
    | SectionStart
    | SectionEnd
    | Status
)
"""What an agent may yield; a plain `str` is short for `Content`."""
Event: TypeAlias = Emitted | User | Start | Request | Resolved | Ending | Settled | Seen
"""The closed union of all events."""

ENDINGS = (Done, Interrupted, Error)
EMITTED = (
    Content,
    Thinking,
    Tools,
    ToolStart,
    ToolInput,
    ToolRun,
    ToolResult,
    Outline,
    SectionStart,
    SectionEnd,
    Status,
)
