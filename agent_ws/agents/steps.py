"""What a script is made of, see `scripted`.

The one rule: a step says all that happens; none depends on what came before it.
"""

import asyncio
from typing import Any, TypeAlias

from msgspec import Struct

from ..events import Emitted, RequestKind, Usage


class Wait(Struct, frozen=True):
    """Let `seconds` pass on the loop's clock."""

    seconds: float


class Raise(Struct, frozen=True):
    """Fail with `error`."""

    error: BaseException


class Ask(Struct, frozen=True):
    """Ask the user, and wait for the reply or until nobody gave one."""

    kind: RequestKind
    prompt: str
    data: Any = None
    tool: str | None = None


class Hear(Struct, frozen=True):
    """Wait until the user has said more, and take so many messages at least."""

    messages: int = 1


class Report(Struct, frozen=True):
    """What the provider said of the answer, for its ending."""

    usage: Usage | None = None
    stop_reason: str = ""


class Gate(asyncio.Event):
    """Wait until the test opens it with `set()`. Once open it stays open, until `clear()`.

    `await gate.reached.wait()` returns when an agent stands at it: everything before it was written then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()


Step: TypeAlias = str | Emitted | Wait | Gate | Raise | Ask | Hear | Report
"""A `str` is text; an event is written as it is."""
