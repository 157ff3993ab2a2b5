"""The store that forgets: sessions live as long as the process.

The one rule: it behaves as any other store does, so whatever works on it works on a durable one.
"""

import asyncio
from collections.abc import Sequence

from ..events import Event
from ..log import Epoch
from .base import Batch, Record, Saved, check
from .cards import Card, Mark, Page, folded

LOOK = 4_000_000
"""Characters that one look for a page goes through: a few milliseconds."""


class _Kept:
    """One session, as far as it was saved."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.epochs: list[Epoch] = []
        self.events: list[Event] = []
        self.title = ""
        self.updated = 0.0
        self.said: list[str] = []

    @property
    def mark(self) -> tuple[float, str]:
        """Its place in the list."""
        return self.updated, self.record.session

    def has(self, words: Sequence[str]) -> bool:
        """Whether each of the words is a part of something in it."""
        texts = (folded(self.title), *self.said)
        return all(any(word in text for text in texts) for word in words)


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
            session.title = session.title or batch.news.title
            session.updated = max(session.updated, batch.news.updated)
            session.said += batch.news.said
            kept[batch.session] = session
        while len(kept) > self._keep:
            del kept[next(iter(kept))]
            self._dropped = True

    async def record(self, session: str) -> Record | None:
        kept = self._kept.get(session)
        return kept and kept.record

    async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
        """A cancellation point, as the others are not: a search lets others go on."""
        await asyncio.sleep(0)
        mark = before and (before.updated, before.session)
        mine = [
            kept
            for kept in self._kept.values()
            if kept.record.owner == owner and kept.updated and (mark is None or kept.mark < mark)
        ]
        mine.sort(key=lambda kept: kept.mark, reverse=True)
        cards: list[Card] = []
        looked = 0
        for count, kept in enumerate(mine, 1):
            if kept.has(words):
                cards.append(Card(kept.record.session, kept.title, kept.record.created, kept.updated))
            looked += len(words) * sum(map(len, kept.said))
            if (len(cards) == limit or looked >= LOOK) and count < len(mine):
                return Page(tuple(cards), Mark(kept.updated, kept.record.session))
        return Page(tuple(cards), None)

    async def rename(self, session: str, title: str) -> None:
        if (kept := self._kept.get(session)) is not None:
            kept.title = title

    async def remove(self, session: str) -> None:
        self._kept.pop(session, None)

    async def close(self) -> None:
        """Nothing to do: what was saved is still there."""
