"""The store that forgets: sessions live as long as the process.

The one rule: it behaves as any other store does, so whatever works on it works on a durable one.
"""

from collections.abc import Sequence

from ..events import Event
from ..log import Epoch
from .base import Batch, Record, Saved, check


class _Kept:
    """One session, as far as it was saved."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.epochs: list[Epoch] = []
        self.events: list[Event] = []


class MemoryStore:
    """Keeps the `keep` sessions that were saved to last; the one saved to longest ago is dropped for a new one.

    A dropped session is gone: `load` gives None, and what is saved to it later is dropped too, without an error,
    because a conversation that is still open must not fail for the sake of its past.
    """

    def __init__(self, keep: int = 10_000) -> None:
        self._keep = keep
        self._kept: dict[str, _Kept] = {}
        """In the order of the last save."""
        self._dropped = False

    async def open(self) -> None:
        """Nothing to do. Not a cancellation point, like all methods here."""

    async def load(self, session: str) -> Saved | None:
        kept = self._kept.get(session)
        return kept and Saved(kept.record, tuple(kept.epochs), tuple(kept.events))

    async def save(self, batches: Sequence[Batch]) -> None:
        if self._dropped:
            known = self._kept.keys() | {batch.session for batch in batches if batch.record}
            batches = [batch for batch in batches if batch.session in known]
        kept = self._kept
        check(batches, {b.session: len(kept[b.session].events) for b in batches if b.session in kept})
        for batch in batches:
            session = _Kept(batch.record) if batch.record else kept.pop(batch.session)
            session.epochs += batch.epochs
            session.events += batch.events
            kept[batch.session] = session
        while len(kept) > self._keep:
            del kept[next(iter(kept))]
            self._dropped = True

    async def close(self) -> None:
        """Nothing to do: what was saved is still there."""
