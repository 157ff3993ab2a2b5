"""A scenario as types: what its file may say, and the source of the file's JSON Schema.

The one rule: a step is known by its one verb (`send`, `expect`, `drop`, ...); everything else beside it is an option of
that verb, and what is not known is an error, so that no slip of a key makes a step that checks nothing.

Values are JSON. In what is sent and expected, `$name.field` stands for what came before: see `variables.py`. What is
expected may hold conditions instead of values: see `patterns.py`.
"""

from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$", description="A client's name, or that of what was kept.")]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
Several = Annotated[int, Meta(ge=0)]
Fields: TypeAlias = dict[str, Any]
Pattern = Annotated[
    str | Fields,
    Meta(description="A frame's type, or fields that it has. `text` stands for all text of the run so far."),
]
"""`closed` (`code`, `reason`) and `http` (`status`, `error`, ...) stand for a connection's end and a refusal."""
Need = Literal["login", "open", "obedient", "restart"]
"""What a scenario asks of a server. `login`: it wants one, and a token was given. `open`: it wants none. `obedient`:
the obedient agent. `restart`: the player can restart it."""
DEFAULT = "me"
"""The client of a step that names none."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is written in a file."""


class After(_Part, frozen=True):
    """Wait for this first, all of it, in a run that was not over when this client last said something."""

    chars: Several | None = None
    """So many characters of the newest run's text."""
    section: str | None = None
    """The start of this section."""
    tool: str | None = None
    """The start of a call of this tool, by its name."""
    frame: Pattern | None = None
    """A frame that looks like this."""


class Span(_Part, frozen=True):
    """The time between two things that were kept by `as`."""

    start: Annotated[Name, Meta(description="What was kept first.")]
    end: Annotated[Name | None, Meta(description="What was kept later; without it, now.")] = None
    least: Seconds | None = None
    most: Seconds | None = None


class Checks(_Part, frozen=True):
    """What has to be true now, of what the client has."""

    text: Any = None
    """The text of the run, or a condition on it."""
    thinking: Any = None
    """The same of its thinking."""
    run: str | None = None
    """Which run `text` and `thinking` are about. Without it: the newest that has begun."""
    count: dict[str, Any] | None = None
    """How many frames of a type have come on this connection: a number, or a condition on it."""
    order: tuple[Pattern, ...] | None = None
    """Frames that have come in this order on this connection, with any others between."""
    time: Span | None = None
    invariants: bool = False
    """The promises hold for all that this client has. (They are looked at after each step anyway.)"""
    over: bool = False
    """Nothing is going: every run has its ending and its receipt."""
    same_as: Name | None = None
    """Another client has the same events; only how text is cut may differ."""
    open: bool | None = None
    """Whether the connection is open."""
    equal: tuple[Any, ...] | None = None
    """All of these are the same."""
    different: tuple[Any, ...] | None = None
    """No two of these are the same."""


class _Step(_Part, frozen=True, kw_only=True):
    by: Name = DEFAULT
    """The client that does it."""


class Connect(_Part, frozen=True):
    """Open a WebSocket, say `hello`, and wait for the session."""

    connect: Annotated[Name | None, Meta(description="The client's name.")]
    to: Name | None = None
    """The session of this client, without a cursor. Else a new one."""
    hello: bool | Fields = True
    """More fields of `hello`; false: say nothing."""
    opens: bool = True
    """Wait for `session`."""
    path: str = "/ws"
    subprotocols: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    anonymous: bool = False
    """Without the login that the player has."""
    receive_buffer: Annotated[int, Meta(ge=1024)] | None = None
    """Bytes that the system takes for a client that does not read. Small ones make a slow client felt early."""


class Reconnect(_Part, frozen=True):
    """Come back to the session, with the cursor of what the client has."""

    reconnect: Annotated[Name | None, Meta(description="The client's name.")]
    hello: Fields = {}
    """Fields of `hello` that are said instead of, or beside, its own."""
    forget: bool = False
    """Come back with nothing: without a cursor and without what was there."""
    back_to: int | str | None = None
    """Lose what came behind this `seq` first, as who was cut off there."""
    opens: bool = True
    """Wait for `session`."""
    path: str = "/ws"
    subprotocols: tuple[str, ...] | None = None
    """Without them: the same as before."""
    receive_buffer: Annotated[int, Meta(ge=1024)] | None = None


class Stream(_Part, frozen=True):
    """Open a stream over HTTP; its frames come like those of a WebSocket."""

    stream: Annotated[Name | None, Meta(description="The client's name.")]
    to: Name | None = None
    """The session of this client."""
    accept: Literal["ndjson", "sse"] = "ndjson"
    method: Literal["POST", "GET"] = "POST"
    body: Fields = {}
    """`message` and the like; for `GET` they go into the address."""
    headers: dict[str, str] = {}
    opens: bool = True
    """Wait for `session`."""
    resume: bool = False
    """Come back with the cursor of what the client has."""


class Request(_Part, frozen=True, rename={"as_": "as"}):
    """Ask by HTTP, and look at the whole answer."""

    request: Annotated[str, Meta(pattern="^(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) /", description="`GET /healthz`")]
    body: Any = None
    """Sent as JSON; a text is sent as it is."""
    headers: dict[str, str] = {}
    anonymous: bool = False
    """Without the login that the player has."""
    status: Any = None
    """The status, or a condition on it. Without it: 200 to 299."""
    json: Any = None
    """What the answer's JSON looks like."""
    header: dict[str, Any] = {}
    """What its headers look like, by names in small letters."""
    as_: Name | None = None


class Send(_Step, frozen=True, rename={"as_": "as"}):
    """Send a frame. A text is sent as the message."""

    send: str | Fields
    times: Annotated[int, Meta(ge=1)] | str = 1
    after: After | None = None
    as_: Name | None = None


class Raw(_Step, frozen=True):
    """Send something that is no frame of the protocol."""

    raw: Annotated[str, Meta(description="A text, or where `form` says so, bytes in hexadecimal.")]
    form: Literal["text", "binary", "tcp"] = "text"
    """A text message, a binary one, or bytes behind WebSocket's back."""
    repeat: Annotated[int, Meta(ge=1)] = 1
    """The content is as many times that."""
    times: Annotated[int, Meta(ge=1)] = 1
    """So many messages of it."""


class Expect(_Step, frozen=True, rename={"as_": "as"}):
    """Wait for frames, in this order. Events and answers (frames without `seq`) are two orders: what is expected of one
    does not skip what has come of the other.
    """

    expect: Pattern | tuple[Pattern, ...]
    within: Seconds | None = None
    at_most: Several | None = None
    """So many others may come before and between them."""
    none: tuple[Pattern, ...] = ()
    """None of these may come before and between them."""
    as_: Name | None = None
    """Keep the (last) frame under this name."""


class Interrupt(_Step, frozen=True, rename={"as_": "as"}):
    """Stop what is going."""

    interrupt: Annotated[Fields | None, Meta(description="Fields of `interrupt`: run, seen, section, ...")]
    after: After | None = None
    as_: Name | None = None


class Reply(_Step, frozen=True):
    """Answer a request of the agent's: without `request`, the newest that this client has; wait for one."""

    reply: Any
    request: str | None = None


class Drop(_Step, frozen=True):
    """End the connection: in order, by a reset, or so that nobody is told."""

    drop: Literal["close", "reset", "half_open"] | None
    after: After | None = None
    code: int = 1000


class Slow(_Step, frozen=True):
    """Read so many bytes a second from now on: 0 reads nothing; null as fast as they come."""

    slow: Annotated[float, Meta(ge=0)] | None


class Sleep(_Part, frozen=True):
    """Let time pass."""

    sleep: Seconds


class Restart(_Part, frozen=True):
    """Have the server killed, or stopped in order, and started again, by what the player was given for that."""

    restart: Literal["kill", "stop"]


class Assert(_Step, frozen=True, rename={"assert_": "assert"}):
    """Look at what is there now."""

    assert_: Checks | Literal["invariants"]
    within: Seconds = 0.0
    """Wait so long until it holds; 0: it has to hold now."""


Step: TypeAlias = (
    Connect
    | Reconnect
    | Stream
    | Request
    | Send
    | Raw
    | Expect
    | Interrupt
    | Reply
    | Drop
    | Slow
    | Sleep
    | Restart
    | Assert
)
KINDS: dict[str, type[Step]] = {kind.__name__.lower(): kind for kind in get_args(Step)}
"""By verb."""
OPTIONS = frozenset({"request"})
"""Verbs that are also an option of another: the other one is meant."""


class Scenario(_Part, frozen=True, kw_only=True):
    """One scenario: what it shows, and its steps."""

    scenario: Annotated[str, Meta(min_length=1, description="What it shows, in a sentence.")]
    why: str = ""
    """Why it matters, or what the trap is."""
    promise: Annotated[int, Meta(ge=1, le=8)] | None = None
    """Which of the protocol's promises it belongs to."""
    needs: tuple[Need, ...] = ()
    """What the server has to have; else the scenario is skipped."""
    agent: str = ""
    """`module:attribute` of an agent, or the name of one that comes along: served for this scenario where no server is
    named."""
    within: Seconds = 5.0
    """For each `expect` that says nothing else."""
    steps: Annotated[tuple[Fields, ...], Meta(min_length=1)]
    """Each of them one `Step`, see `step_of`."""


def step_of(fields: Fields) -> Step:
    """What one entry of `steps` means. Raises `ValueError`."""
    verbs = [key for key in fields if key in KINDS]
    verbs = [verb for verb in verbs if verb not in OPTIONS] or verbs
    if len(verbs) != 1:
        raise ValueError(
            f"expected one verb a step ({', '.join(KINDS)}), got {' and '.join(verbs or fields) or 'none'}"
        )
    try:
        return msgspec.convert(fields, KINDS[verbs[0]])
    except msgspec.ValidationError as error:
        raise ValueError(f"{verbs[0]}: {str(error)[0].lower()}{str(error)[1:]}") from None
