"""What waits for a store: a message for its acknowledgement, a client for its session, the feed for a store that fails.

The one rule: whoever is cancelled takes nobody with it. The log gets into the store whole, or was never acknowledged.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from agent_ws.errors import StoreError
from agent_ws.events import Content, Start, User
from agent_ws.log import Epoch, Log
from agent_ws.sessions import Sessions
from agent_ws.settings import Limits, Settings
from agent_ws.stores import Batch, Feed, MemoryStore, Record
from agent_ws.stores.sqlite import SqliteStore
from agent_ws.testing.invariants import check_log

from .runs import plain
from .scene import Base, Case, Scene, expect, ok, settled, steps, talking, warm


def file(folder: Path) -> SqliteStore:
    """A new one in this folder."""
    return SqliteStore(folder / "test.db")


async def cancelled_after(k: int, work: Coroutine[Any, Any, Any]) -> bool:
    """Cancel `work` after so many steps; a cancellation that reached it ends it. True: it was over before."""
    task = asyncio.create_task(work, name="swept")
    reached = False

    def cancel() -> None:
        nonlocal reached
        reached = task.cancel()

    steps().arm(k, cancel)
    await asyncio.wait({task})
    steps().disarm()
    expect(task.cancelled() or not reached, f"expected a cancellation that is not swallowed, got {task}")
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    return not reached


World = Callable[[Path], AbstractAsyncContextManager[Case]]


@asynccontextmanager
async def saying(folder: Path) -> AsyncGenerator[Case]:
    """Who says something is cancelled: the message is in, with its answer, or it isn't; again, it is in once."""
    store = file(folder)
    async with Sessions(ok, Settings(), store=store) as sessions:
        await warm(sessions)
        base = Base()

        async def case(k: int) -> bool:
            session, _ = await sessions.create("me")
            whole = await cancelled_after(k, session.say("hi", "m1"))
            began = bool(session.log.tail)
            again = await session.say("hi", "m1")
            events = await settled(session)
            expect(sum(isinstance(event, User) for event in events) == 1, f"expected the message once, got {events}")
            expect(began or k == 0, "expected the message to be taken in the first step")
            expect(again.run == events[0].run, f"expected one run, got {again}")
            check_log(events, over=True)
            await session.say("and?")
            saved = await store.load(session.id)
            assert saved is not None
            expect(list(saved.events[: len(events)]) == events, f"expected all in the store, got {saved.events}")
            await settled(session)
            await base.again()
            return whole

        yield case


@asynccontextmanager
async def finding(folder: Path) -> AsyncGenerator[Case]:
    """Who comes back is cancelled while the session is loaded: the next one that comes back gets it, once."""
    settings = Settings(limits=Limits(loaded_sessions=1))
    async with Sessions(ok, settings, store=file(folder)) as sessions:
        await warm(sessions)
        base = Base()

        async def case(k: int) -> bool:
            session, token = await sessions.create("me")
            await session.say("hi")
            events = await settled(session)
            while session.id in vars(sessions)["_loaded"]:  # it is let go once the store has it
                other, _ = await sessions.create("me")
                await other.say("hi")
                await settled(other)
            whole = await cancelled_after(k, sessions.find(session.id, owner=None, token=token))
            found, same = await asyncio.gather(*(sessions.find(session.id, owner=None, token=token) for _ in range(2)))
            expect(found is same, "expected one session in memory, got two")
            expect(found.log.read(0)[: len(events)] == events, f"expected {events}, got {found.log.read(0)}")
            await found.say("and?")
            check_log(await settled(found), over=True)
            await base.again()
            return whole

        yield case


def _batches(n: int, count: int) -> list[Batch]:
    events = tuple(Content("text " * 10, seq=seq, run="r") for seq in range(1, count + 1))
    name = f"s{n}"
    return [Batch(name, Record(name, "me", "", 0.0), (Epoch("e", 1),), (Start(seq=1, run="r"), *events[1:]))]


@asynccontextmanager
async def saving(folder: Path) -> AsyncGenerator[Case]:
    """A save is cancelled: it happened, or it did not."""
    store = file(folder)
    await store.open()
    numbers = itertools.count()
    await store.save(_batches(next(numbers), 1))
    base = Base()

    async def case(k: int) -> bool:
        batches = _batches(next(numbers), 500)
        whole = await cancelled_after(k, store.save(batches))
        saved = await store.load(batches[0].session)
        expect(saved is None or saved.events == batches[0].events, "expected all or nothing in the store, got a part")
        expect(saved is not None or not whole, "expected what was saved to be there, got nothing")
        await store.save(_batches(next(numbers), 1))
        await base.again()
        return whole

    try:
        yield case
    finally:
        await store.close()


@asynccontextmanager
async def opening(folder: Path) -> AsyncGenerator[Case]:
    """An opening is cancelled: nothing keeps the file."""
    base = Base()

    async def case(k: int) -> bool:
        store = file(folder)
        whole = await cancelled_after(k, store.open())
        if whole:
            await store.close()
        await base.again()
        other = file(folder)
        await other.open()
        await other.close()
        await base.again()
        return whole

    yield case


@asynccontextmanager
async def closing(folder: Path) -> AsyncGenerator[Case]:
    """A closing is cancelled: it is closed all the same, with what was asked before."""
    base, numbers = Base(), itertools.count()

    async def case(k: int) -> bool:
        store, batches = file(folder), _batches(next(numbers), 50)
        await store.open()
        save = asyncio.create_task(store.save(batches))
        await asyncio.sleep(0)
        whole = await cancelled_after(k, store.close())
        await save
        await store.close()
        await base.again()
        other = file(folder)
        await other.open()
        expect(await other.load(batches[0].session), "expected what was saved to be there, got nothing")
        await other.close()
        return whole

    yield case


class Failing(MemoryStore):
    """Fails `times` times, and takes its time for it."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def save(self, batches: Sequence[Batch]) -> None:
        await asyncio.sleep(0.1)
        if self.times:
            self.times -= 1
            raise StoreError("the disk is full")
        await super().save(batches)


Act = Callable[[asyncio.Task[None], Feed, list[asyncio.Task[None]]], object]


def feeding(times: int, act: Act, *, over: bool) -> World:
    """Something happens to a feed while it saves, fails and pauses. `over`: it ends by that."""

    @asynccontextmanager
    async def world(_: Path) -> AsyncGenerator[Case]:
        base = Base()

        async def case(k: int) -> bool:
            store = Failing(times)
            feed, log = Feed(store), Log("e")
            feed.add(log, Record("s", "me", "", 0.0), saved=False)
            running = asyncio.create_task(feed.run())
            await asyncio.sleep(0)  # one that never began is no feed
            acknowledged = [0]
            waiting = [asyncio.create_task(_say_three(feed, log, acknowledged)) for _ in range(3)]
            steps().arm(k, lambda: act(running, feed, waiting))
            results = await asyncio.gather(*waiting, return_exceptions=True)
            fine = (type(None), StoreError, asyncio.CancelledError)
            expect(all(isinstance(result, fine) for result in results), f"expected an answer for each, got {results}")
            whole = not steps().disarm()
            cut = sum(isinstance(result, asyncio.CancelledError) for result in results)
            expect(cut <= 1, f"expected one at most to be cancelled, got {results}")
            if not whole and over:
                with suppress(StoreError):
                    await feed.durable("s", log.tail + 1)  # nobody waits for ever
                    raise AssertionError("expected a feed that has ended to say so")
            elif times < 3:
                expect(results.count(None) + cut == 3, f"expected two failures to be nobody's business, got {results}")
            if not over:
                await feed.durable("s", log.append(Start(run="end")).seq) if times < 3 else None
            feed.close()
            with suppress(asyncio.CancelledError):
                await running
            saved = await store.load("s")
            there = len(saved.events) if saved else 0
            expect(there >= max(acknowledged), f"expected {acknowledged} in the store, got {there} events")
            await base.again()
            return whole

        yield case

    return world


async def _say_three(feed: Feed, log: Log, acknowledged: list[int]) -> None:
    for _ in range(3):
        seq = log.append(Start(run="r")).seq
        await feed.durable("s", seq)
        acknowledged.append(seq)
        await asyncio.sleep(0.07)


def cancel_waiter(running: asyncio.Task[None], feed: Feed, waiting: list[asyncio.Task[None]]) -> None:
    del running, feed
    waiting[1].cancel()


def cancel_feed(running: asyncio.Task[None], feed: Feed, waiting: list[asyncio.Task[None]]) -> None:
    del feed, waiting
    running.cancel()


def close_feed(running: asyncio.Task[None], feed: Feed, waiting: list[asyncio.Task[None]]) -> None:
    del running, waiting
    feed.close()


SCENES = (
    Scene("run on SQLite", talking(plain, store=file)),
    Scene("message not yet kept", saying),
    Scene("session being loaded", finding),
    Scene("save", saving),
    Scene("store being opened", opening),
    Scene("store being closed", closing),
    Scene("waiter of a feed that pauses", feeding(2, cancel_waiter, over=False), virtual=True),
    Scene("waiter of a feed that fails", feeding(5, cancel_waiter, over=False), virtual=True),
    Scene("feed cancelled", feeding(2, cancel_feed, over=True), virtual=True),
    Scene("feed cancelled while it fails", feeding(5, cancel_feed, over=True), virtual=True),
    Scene("feed closed", feeding(2, close_feed, over=True), virtual=True),
    Scene("feed closed while it fails", feeding(5, close_feed, over=True), virtual=True),
)
