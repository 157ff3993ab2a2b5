"""What a store is: the small driver that makes logs durable.

The one rule: `save` is all or nothing. Batching, retrying and waiting are not a driver's business: `feed` does them
once for all. A driver passes the suite in `agent_ws.testing.stores`, with a factory and nothing else.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from ..errors import StoreError
from ..events import Event
from ..log import Epoch
from .cards import NOTHING, Mark, News, Page


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
    """Printable, because engines cut names off at a NUL or take no half characters."""
    record: Record | None
    """Given once, with the session's first batch."""
    epochs: tuple[Epoch, ...]
    events: tuple[Event, ...]
    news: News = NOTHING
    """What a list shows and searches from now on."""

    def __post_init__(self) -> None:
        if self.record is not None and not self.session.isprintable():
            raise ValueError("expected a session's name that can be printed")


class BatchError(StoreError):
    """The batch of one session can't be saved, now or later, whoever tries; those of other sessions can."""

    def __init__(self, session: str, message: str) -> None:
        super().__init__(message)
        self.session = session


def check(batches: Sequence[Batch], tails: dict[str, int]) -> None:
    """Raise `BatchError` unless each batch follows what is there: what every driver asks before it writes.

    `tails` has the last `seq`, or 0, of each session of `batches` that the store knows, and is brought up to date.
    """
    for batch in batches:
        session = batch.session
        tail = tails.get(session)
        if tail is None and batch.record is None:
            raise BatchError(session, "the store doesn't know this session")
        if tail is not None and batch.record is not None:
            raise BatchError(session, "the store has another session of this name")
        tail = tail or 0
        for event in batch.events:
            if event.seq != tail + 1:
                raise BatchError(session, f"expected event {tail + 1} of this session, got {event.seq}: two writers?")
            tail = event.seq
        tails[session] = tail


class Store(Protocol):
    """A driver. One instance is used by one event loop; calls may overlap, but `save` is never called twice at once.

    A cancelled `save` happened as a whole or not at all; `feed` doesn't cancel one. Every method raises
    `StoreError` when the engine fails, with a message that says what to do and holds no data.
    """

    async def open(self) -> None:
        """Make it ready: called once, before anything else. Raises `StoreError` where another process holds it."""
        ...

    async def load(self, session: str) -> Saved | None:
        """All of one session, or None. Sees every `save` that returned. `session` may be any text: clients send it."""
        ...

    async def save(self, batches: Sequence[Batch]) -> None:
        """Append all `batches`, durably, or none of them.

        When it returns they survive `kill -9` (and, where the engine can, loss of power). An event whose `seq`
        is there already or leaves a gap is a `BatchError`, and so is a first batch without its record or a later
        one with it (see `check`): two writers on one session must not both succeed.
        """
        ...

    async def record(self, session: str) -> Record | None:
        """The identity of one session, or None, like `load`. It has to work for a session that `load` can't read."""
        ...

    async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
        """At most `limit` of the owner's sessions that have ever been `updated`, the newest first, of two alike the one
        with the greater name; those behind `before` only. Sees every `save`, `rename` and `remove` that returned.

        With `words`, each as `folded` makes it, those in which every one of them is a part of the `folded` title or of
        something `said`. It looks at a bounded part of the list and may return fewer, or none, and a `next`, so that
        neither a save nor the event loop waits for a search.
        """
        ...

    async def rename(self, session: str, title: str) -> None:
        """Durably give a session this title, which no message takes away. One that is not there: nothing."""
        ...

    async def remove(self, session: str) -> None:
        """Durably delete all there is of a session, or nothing of it. One that is not there: nothing.

        Never called while `save` is; what is saved to it later is refused like that of one which never was.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds. Nothing is called after it; closing twice is harmless."""
        ...
