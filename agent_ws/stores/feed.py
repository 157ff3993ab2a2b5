"""The cursor that feeds a store, for all logs of the process.

The one rule: a log never waits for its store. One task takes what is new in every log, saves it as one batch, and tells those
who asked for durability. While a save is under way the next batch gathers, so the batches grow with the load.
"""

import asyncio
import logging
from collections.abc import Callable

from ..errors import StoreError
from ..log import Epoch, Log
from .base import Batch, Record, Store

logger = logging.getLogger("agent_ws")

TRIES = 3
"""Saves that fail in a row before those who wait are told. The feed itself goes on trying."""
RETRY_S = 0.25
RETRY_MAX_S = 5.0
BATCH_EVENTS = 10_000
"""Events that one save takes from one log, so that no batch grows without end behind a slow disk."""


class Fed:
    """One log on its way into the store, and how far it got."""

    def __init__(self, log: Log, record: Record, *, saved: bool) -> None:
        self.log = log
        self.record = record
        self.durable = log.tail if saved else 0
        """Every event up to this `seq` is in the store."""
        self.known = saved
        """The store has the record."""
        self.epoch_known = False
        self.unwatch: Callable[[], None] = lambda: None

    @property
    def behind(self) -> bool:
        """Whether the store lacks anything."""
        return not self.known or not self.epoch_known or self.durable < self.log.tail

    def batch(self) -> Batch:
        """What the store lacks, up to the limit."""
        events = self.log.read(self.durable, BATCH_EVENTS)
        epochs: tuple[Epoch, ...] = () if self.epoch_known else self.log.epochs[-1:]
        return Batch(self.record.session, None if self.known else self.record, epochs, tuple(events))


class Feed:
    """Keeps a store up to date with the logs that it was given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fed: dict[str, Fed] = {}
        self._dirty: dict[str, Fed] = {}
        self._work = asyncio.Event()
        self._saved = asyncio.Event()
        """Replaced after each try, so that a waiter who is cancelled takes nobody with it."""
        self._failed: StoreError | None = None
        self._closing = False

    @property
    def failed(self) -> StoreError | None:
        """Why the store takes nothing at the moment; None while it works."""
        return self._failed

    def add(self, log: Log, record: Record, *, saved: bool) -> None:
        """Feed `log` from now on. `saved`: the store has all of it but its newest epoch."""
        fed = Fed(log, record, saved=saved)
        self._fed[record.session] = fed

        def changed() -> None:
            self._dirty[record.session] = fed
            self._work.set()

        fed.unwatch = log.watch(changed)
        changed()

    def release(self, session: str) -> bool:
        """Let a log go, if the store has all of it."""
        fed = self._fed[session]
        if fed.behind:
            return False
        fed.unwatch()
        del self._fed[session]
        self._dirty.pop(session, None)
        return True

    async def durable(self, session: str, seq: int) -> None:
        """Return when the store has every event up to `seq`. Raises `StoreError` when it can't take it."""
        fed = self._fed[session]
        while fed.durable < seq or not fed.known:
            if self._failed is not None:
                raise self._failed
            await self._saved.wait()

    async def run(self) -> None:
        """Feed until `close`, then save the rest. For one task, which owns the saving."""
        failures = 0
        while True:
            if not self._dirty:
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
                continue
            dirty, self._dirty = self._dirty, {}
            feds = [fed for fed in dirty.values() if fed.behind]
            try:
                await self._save(feds)
            except StoreError as error:
                failures += 1
                self._dirty = dirty | self._dirty
                if failures >= TRIES:
                    if self._failed is None:
                        logger.error("the store fails: %s", error)  # noqa: TRY400 - the reason, not our stack, helps
                    self._failed = error
                    self._tell()
                    if self._closing:
                        return
                await asyncio.sleep(min(RETRY_S * 2 ** (failures - 1), RETRY_MAX_S))
            else:
                failures = 0
                if self._failed is not None:
                    logger.warning("the store works again")
                    self._failed = None
                self._tell()
                self._dirty.update((fed.record.session, fed) for fed in feds if fed.behind)

    def close(self) -> None:
        """Ask `run` to save the rest and return."""
        self._closing = True
        self._work.set()

    async def _save(self, feds: list[Fed]) -> None:
        batches = [fed.batch() for fed in feds]
        if not batches:
            return
        await self._store.save(batches)
        for fed, batch in zip(feds, batches, strict=True):
            fed.known = fed.epoch_known = True
            fed.durable += len(batch.events)

    def _tell(self) -> None:
        self._saved.set()
        self._saved = asyncio.Event()
