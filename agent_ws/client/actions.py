"""What the core tells its shell to do: `do.Send(frame)`, `do.Wake(at)`.

The one rule: they are done in the order in which they come. The names and fields are those of the fixtures.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from .. import events, frames
from .incoming import Unknown

Wire = Literal["ws", "sse"]
"""`sse`: server-sent events and requests. The core knows how to choose between them; the shell here has `ws` alone."""


class _State(Struct, frozen=True, tag=str.lower, tag_field="name"):
    pass


class Connecting(_State, frozen=True):
    """A connection is being made, or the server is waited for to say `session`."""

    wire: Wire
    restarting: bool


class Open(_State, frozen=True):
    """Frames go both ways."""

    wire: Wire


class Waiting(_State, frozen=True):
    """The connection is lost; it is tried again at `until`."""

    until: float
    restarting: bool
    """The server said that it would be back."""


class Resting(_State, frozen=True):
    """The server closed it because nobody said anything; whatever is said brings it back."""

    code: int


class Ended(_State, frozen=True, tag="closed"):
    """Nothing more comes."""

    code: int
    reason: str


ConnectionState: TypeAlias = Connecting | Open | Waiting | Resting | Ended


class Withdrawn(Struct, frozen=True, tag="withdrawn"):
    """The message never left."""

    id: str


Decided: TypeAlias = frames.Accepted | frames.Rejected | Withdrawn
"""What became of a message."""


class _Do(Struct, frozen=True, tag=str.lower, tag_field="do"):
    pass


class Connect(_Do, frozen=True):
    """Open a connection, in place of the one there is."""

    wire: Wire


class Send(_Do, frozen=True):
    """Send a frame on it."""

    frame: frames.ClientFrame


class Drop(_Do, frozen=True):
    """Let go of the connection without waiting for its end."""


class Wake(_Do, frozen=True):
    """Call `wake` then, and not at the time that was asked for before; None: not at all."""

    at: float | None


class State(_Do, frozen=True):
    """The connection's state has changed."""

    state: ConnectionState


class Session(_Do, frozen=True):
    """The session is there, or there again."""

    frame: frames.SessionFrame


class Event(_Do, frozen=True):
    """The log's next event."""

    event: events.Event | Unknown


class Reset(_Do, frozen=True):
    """Throw the copy of the log away: the whole log follows."""

    reason: str


class Outcome(_Do, frozen=True):
    """A message has its outcome."""

    outcome: Decided


class Error(_Do, frozen=True):
    """A frame could not be served."""

    error: frames.ErrorFrame


Notice: TypeAlias = State | Session | Event | Reset | Outcome | Error
"""What is told to whoever uses the client."""
Action: TypeAlias = Connect | Send | Drop | Wake | Notice
