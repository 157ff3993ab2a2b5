"""What a store is: the small driver that makes logs durable.

The one rule: `save` is all or nothing. Batching, retrying and waiting are not a driver's business: `feed` does them once for all.
A driver passes `tests/stores/` (`agent_ws.testing.stores`), with a factory and nothing else.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from ..events import Event
from ..log import Epoch


class Record(Struct, frozen=True):
    """A session's identity, which never changes."""

    session: str
    owner: str
    """Who made it: an opaque name. Only the owner, or who has the token, may use it."""
    token_hash: str
    """Hex SHA-256 of the session's token. The token itself is never stored."""
    created: float
    """Seconds since 1970."""


class Saved(Struct, frozen=True):
    """All that a store has of one session: events 1..n without a gap, epochs in the order of their first event."""

    record: Record
    epochs: tuple[Epoch, ...]
    events: tuple[Event, ...]


class Batch(Struct, frozen=True):
    """New facts of one session, in order after those already saved."""

    session: str
    record: Record | None
    """Given once, with the session's first batch."""
    epochs: tuple[Epoch, ...]
    events: tuple[Event, ...]


class Store(Protocol):
    """A driver. One instance is used by one event loop; calls may overlap, but `save` is never called twice at once.

    A cancelled `save` may or may not have happened; `feed` doesn't cancel one. Every method raises `StoreError` when the engine fails,
    with a message that says what to do and holds no data.
    """

    async def open(self) -> None:
        """Make it ready: called once, before anything else. Raises `StoreError` where another process holds it."""
        ...

    async def load(self, session: str) -> Saved | None:
        """All of one session, or None. Sees every `save` that returned."""
        ...

    async def save(self, batches: Sequence[Batch]) -> None:
        """Append all `batches`, durably, or none of them.

        When it returns they survive `kill -9` (and, where the engine can, loss of power). An event whose `seq` is there already or
        leaves a gap is a `StoreError`: two writers on one session must not both succeed.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds. Nothing is called after it; closing twice is harmless."""
        ...
