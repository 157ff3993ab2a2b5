"""The cursor that feeds a store, for all logs of the process.

The one rule: a log never waits for its store. One task takes what is new in every log, saves it in one go, and tells
those who asked for durability. Who asks is served at once; where nobody does, what comes is gathered for a moment, and
while a save is under way the next one gathers too, so they grow with the load.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress

from ..errors import Refused, StoreError
from ..events import Content, Event, Start
from ..journal import bug, note
from ..log import Epoch, Log
from .base import Batch, BatchError, Record, Store
from .cards import NOTHING, answers, ends, news

TRIES = 3
"""Saves that fail in a row before those who wait are told. The feed itself goes on trying."""
RETRY_S = 0.25
RETRY_MAX_S = 5.0
SAVE_EVENTS = 8_000
"""Events that one save takes, so that none grows without end behind a slow disk."""
SLICE = 64
"""Logs that are looked at in one step of the loop, and as many again for each 4 ms that a turn of it takes."""
GATHER_S = 0.05
"""How long what nobody waits for is gathered: what a crash may take from a client that has seen it."""


class Fed:
    """One log on its way into the store, and how far it got."""

    def __init__(self, log: Log, record: Record, mark: "Callable[[Fed], None]", *, saved: bool) -> None:
        self.log = log
        self.record = record
        self._mark = mark
        # Not the tail: the log may have grown since it was loaded, by the endings of lost runs for instance.
        self.durable = log.epochs[-1].first - 1
        """Every event up to this `seq` is in the store."""
        self.known = saved
        """The store has the record."""
        self.epoch_known = False
        self.broken: BatchError | None = None
        """Why the store will never take the rest."""
        self.dirty = False
        """It waits for its turn."""
        self.removed = False
        """It is gone from the store."""
        self.waiting = 0
        """Those who wait in `durable` for it."""
        self._starts: dict[str, int] = {}
        """Where the runs began that have no ending yet."""

    def changed(self) -> None:
        """The log has something new. Called inside the append."""
        if not self.dirty:  # on the path of every token: most find it so
            self._mark(self)

    @property
    def behind(self) -> bool:
        """Whether the store lacks anything that it would take."""
        return self.broken is None and not (self.known and self.epoch_known and self.durable == self.log.tail)

    def batch(self, limit: int) -> Batch:
        """What the store lacks, up to `limit` events."""
        events = self.log.read(self.durable, limit)
        epochs: tuple[Epoch, ...] = () if self.epoch_known else self.log.epochs[-1:]
        others = [event for event in events if not isinstance(event, Content)]
        told = NOTHING  # most batches have text alone, and each of a thousand streams makes one in a moment
        if others:
            told = news(others, [text for event in others if (text := self._answer(event))])
        record = None if self.known else self.record
        return Batch(self.record.session, record, epochs, tuple(events), told)

    def saved(self, batch: Batch) -> None:
        """The store has `batch`."""
        self.known = self.epoch_known = True
        self.durable += len(batch.events)
        if self._starts and batch.news is not NOTHING:
            for event in batch.events:
                if ends(event):
                    self._starts.pop(event.run, None)

    def _answer(self, event: Event) -> str:
        """What the run said that ends with `event`, if one does."""
        if isinstance(event, Start):
            self._starts[event.run] = event.seq
        if not ends(event):
            return ""
        first = self._starts.get(event.run, 1)
        return "".join(answers(e for e in self.log.read(first - 1, event.seq - first + 1) if e.run == event.run))


class Feed:
    """Keeps a store up to date with the logs that it was given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fed: dict[str, Fed] = {}
        self._dirty: dict[str, Fed] = {}
        """Those that changed, in the order of their turn."""
        self._full = False
        """The last save had no room for all that was new."""
        self._work = asyncio.Event()
        self._waiting = 0
        """Those who wait in `durable`."""
        self._saving = asyncio.Lock()
        """Held while the store is written to."""
        self._wanted = asyncio.Event()
        """Set while anybody does, and at the end."""
        self._tried = asyncio.Event()
        """Replaced after each try, so that a waiter who is cancelled takes nobody with it."""
        self._failed: StoreError | None = None
        self._closing = asyncio.Event()

    @property
    def failed(self) -> StoreError | None:
        """Why the store takes nothing at the moment; None while it works."""
        return self._failed

    def broken(self, session: str) -> BatchError | None:
        """Why the store will never take the rest of this log; None where it will."""
        return self._fed[session].broken

    def add(self, log: Log, record: Record, *, saved: bool) -> None:
        """Feed `log` from now on. `saved`: the store has what the log was loaded with, and so the record."""
        fed = self._fed[record.session] = Fed(log, record, self._mark, saved=saved)
        log.watch(fed.changed)
        fed.changed()

    def release(self, session: str) -> bool:
        """Let a log go, if the store has all of it, or all that it will ever take."""
        fed = self._fed[session]
        if fed.behind:
            return False
        fed.log.unwatch(fed.changed)
        del self._fed[session]
        self._dirty.pop(session, None)
        return True

    def has(self, session: str, seq: int) -> bool:
        """Whether the store has every event up to `seq`."""
        fed = self._fed[session]
        return fed.known and fed.durable >= seq

    async def durable(self, session: str, seq: int) -> None:
        """Return when the store has every event up to `seq`. Raises `StoreError` when it can't take it, `Refused` where
        the session is deleted.
        """
        fed = self._fed.get(session)
        if fed is None:
            raise deleted()
        self._waiting += 1
        fed.waiting += 1
        self._wanted.set()
        try:
            while not (fed.known and fed.durable >= seq):
                if fed.removed:
                    raise deleted()
                failed = fed.broken or self._failed
                if failed is not None:
                    raise StoreError(str(failed)) from failed  # one error raised twice would mix up its tracebacks
                await self._tried.wait()
        finally:
            fed.waiting -= 1
            self._waiting -= 1
            if not self._waiting and not self._closing.is_set():
                self._wanted.clear()

    async def caught_up(self, owner: str) -> None:
        """Return when the store has what is new now in the logs of `owner`, as far as it takes them."""
        new = [
            (fed.record.session, fed.log.tail) for fed in self._fed.values() if fed.record.owner == owner and fed.behind
        ]
        for session, tail in new:
            with suppress(StoreError, Refused):  # one that can't be saved, or is deleted meanwhile
                await self.durable(session, tail)

    async def remove(self, session: str) -> None:
        """Take a session out of the store, and feed its log no more. When it returns, who waited for the log has been
        told. Raises `StoreError` where the store can't do it; then everything is as it was.
        """
        async with self._saving:  # a save that is under way may have it
            await self._removed(session)
            fed = self._fed.pop(session, None)
            self._dirty.pop(session, None)
        if fed is not None:
            fed.removed = True
            fed.log.unwatch(fed.changed)
            self._tell()
            while fed.waiting:  # noqa: ASYNC110 - an Event for each log would be one for each idle client
                await asyncio.sleep(0)  # they have been woken: two turns of the loop

    async def _removed(self, session: str) -> None:
        try:
            await self._store.remove(session)
        except StoreError:
            raise
        except Exception as error:
            bug("the store's driver raised what is no StoreError", error)
            raise StoreError(f"The store's driver failed ({type(error).__name__}).") from error

    async def run(self) -> None:
        """Feed until `close`, then save the rest. For one task, which owns the saving."""
        failures = 0
        try:
            while await self._any(gather=not failures and not self._full):
                turn: dict[Fed, Batch] = {}
                try:
                    async with self._saving:
                        turn = await self._turn()
                        if not turn:
                            continue
                        await self._save(turn)
                except StoreError as error:
                    for fed in turn:
                        fed.dirty = True
                    self._dirty = {fed.record.session: fed for fed in turn} | self._dirty
                    if isinstance(error, BatchError):
                        # One log must not hold up the others.
                        note(logging.ERROR, "a session can't be saved any more", error=error, session=error.session)
                        self._fed[error.session].broken = error  # it is there: a removal waits for the save
                        self._tell()
                        continue
                    failures += 1
                    if failures >= TRIES:
                        if self._failed is None:
                            note(logging.ERROR, "the store fails", error=error)
                        self._failed = error
                        self._tell()
                        if self._closing.is_set():
                            return
                    await self._rest(failures)
                else:
                    failures = 0
                    if self._failed is not None:
                        note(logging.WARNING, "the store works again")
                        self._failed = None
                    for fed in turn:
                        if fed.behind:
                            self._mark(fed)
                    self._tell()
        finally:
            # However it ends: nobody may wait for a save that will never come.
            self._failed = self._failed or StoreError("the store is closed")
            self._tell()

    def close(self) -> None:
        """Ask `run` to save the rest and return. A store that fails is tried `TRIES` times in all, without a pause."""
        self._closing.set()
        self._wanted.set()
        self._work.set()

    async def _any(self, *, gather: bool) -> bool:
        """Wait for something to save, and `gather` more where nobody waits for it. False: nothing more will come."""
        while not self._dirty:
            if self._closing.is_set():
                return False
            self._work.clear()
            await self._work.wait()
        if gather and not self._wanted.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._wanted.wait()
        elif self._full:
            await asyncio.sleep(0)  # a save may come to its end without ever waiting
        return True

    def _mark(self, fed: Fed) -> None:
        """Give a log that has something new its turn."""
        if not fed.dirty:
            fed.dirty = True
            self._dirty[fed.record.session] = fed
            if not self._work.is_set():
                # Behind what is due now: where it is a message that is new, its agent begins before it is saved.
                asyncio.get_running_loop().call_soon(self._work.set)

    async def _turn(self) -> dict[Fed, Batch]:
        """What the next save takes: up to `SAVE_EVENTS`, from those that have waited longest.

        What is new meanwhile in a log that has had its turn gives it another.
        """
        waiting, self._dirty = self._dirty, {}
        turn: dict[Fed, Batch] = {}
        room, share = SAVE_EVENTS, SLICE
        clock = asyncio.get_running_loop().time
        while True:
            # In slices: a Stop must not wait until a thousand logs were looked at. And where a turn of the loop is long
            # because each log has something new in it, small ones would never get to the end.
            for session in tuple(itertools.islice(waiting, share)):
                fed = waiting.pop(session)
                fed.dirty = False
                if fed.behind:
                    turn[fed] = fed.batch(room)
                    room -= max(1, len(turn[fed].events))
                if room <= 0:
                    break
            self._full = room <= 0
            if self._full or not waiting:
                break
            before = clock()
            await asyncio.sleep(0)
            share = SLICE + round((clock() - before) * 250 * SLICE)
        self._dirty = waiting | self._dirty
        return turn

    async def _save(self, turn: dict[Fed, Batch]) -> None:
        try:
            await self._store.save(list(turn.values()))
        except StoreError:
            raise
        except Exception as error:
            # A driver's bug. It must not end the feed in silence: it is a store that fails until it works again.
            bug("the store's driver raised what is no StoreError", error)
            raise StoreError(f"The store's driver failed ({type(error).__name__}).") from error
        for fed, batch in turn.items():
            fed.saved(batch)

    async def _rest(self, failures: int) -> None:
        """Pause after a save that failed. `close` ends the pause."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(RETRY_S * 2 ** (failures - 1), RETRY_MAX_S)):
                await self._closing.wait()

    def _tell(self) -> None:
        self._tried.set()
        self._tried = asyncio.Event()


def deleted() -> Refused:
    """What everybody is told whose session is no more."""
    return Refused("expected a session that is there, got one that was deleted", code="deleted")
