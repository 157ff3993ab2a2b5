"""What a login says: who a client is, for how long, and by what it can be taken back.

The one rule: an identity that could not be stored, compared or timed can't be made.
"""

import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Struct
from starlette.requests import HTTPConnection

OWNER_CHARS = 128


class Identity(Struct, frozen=True):
    """Who a client is. Raises `ValueError` for what can't be one."""

    owner: str
    """Whose sessions it may use: 1 to 128 printable characters, compared exactly."""
    expires: float | None = None
    """When this login ends, in seconds since 1970."""
    id: str | None = None
    """A name of this one login, by which `Gateway.revoke` can end it and leave the owner's others."""

    def __post_init__(self) -> None:
        if not 0 < len(self.owner) <= OWNER_CHARS or not self.owner.isprintable():
            raise ValueError(f"expected an owner of 1 to {OWNER_CHARS} printable characters, got another text")
        if self.expires is not None and math.isnan(self.expires):
            raise ValueError("expected a time in seconds since 1970, got NaN")


Login: TypeAlias = Callable[[HTTPConnection], Awaitable[Identity | None]]
"""A check of your own: the head of a request or handshake in, who sent it out. None: nobody that may come in.

It is asked once for each request, and for each handshake that brings no ticket, and has `timeouts.login` to answer.
What it raises is a bug of its own: the client is answered with 500, and the log has its type and place.
"""
