import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence

import pytest
from loop import VirtualLoop

from agent_ws.errors import Refused, StoreError
from agent_ws.events import Content, Done, Interrupted, Start, User
from agent_ws.log import Epoch, Log
from agent_ws.stores import Batch, Feed, MemoryStore
from agent_ws.stores.base import BatchError, Saved
from agent_ws.stores.feed import GATHER_S, RETRY_MAX_S, SAVE_EVENTS, SLICE
from agent_ws.testing.stores import record

pytestmark = pytest.mark.virtual


class FakeStore(MemoryStore):
    """A store whose saves take a second, and fail as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1.0
        self.broken = False
        self.bug = False
        self.unremovable: Exception | None = None
        self.refused = ""
        """A session that is never taken."""
        self.saves: list[dict[str, int]] = []
        """Of each save that was tried: the number of events of each session."""

    async def save(self, batches: Sequence[Batch]) -> None:
        self.saves.append({batch.session: len(batch.events) for batch in batches})
        await asyncio.sleep(self.seconds)
        if self.broken:
            raise StoreError("the disk is full")
        if self.bug:
            raise ZeroDivisionError
        if self.refused in self.saves[-1]:
            raise BatchError(self.refused, "an event can't be written")
        await super().save(batches)

    async def remove(self, session: str) -> None:
        if self.unremovable is not None:
            raise self.unremovable
        await super().remove(session)


async def stored(world: "World", session: str) -> Saved:
    found = await world.store.load(session)
    assert found is not None
    return found


class World:
    """A feed that runs, its store and its logs."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.feed = Feed(self.store)
        self.running = asyncio.create_task(self.feed.run(), name="feed")
        self.logs: dict[str, Log] = {}

    def log(self, session: str) -> Log:
        if session not in self.logs:
            self.logs[session] = Log(f"epoch of {session}")
            self.feed.add(self.logs[session], record(session), saved=False)
        return self.logs[session]

    def say(self, session: str, count: int = 1) -> int:
        """Write `count` events; return the last one's `seq`."""
        log = self.log(session)
        for _ in range(count):
            log.append(Content(data=f"{log.tail + 1} "))
        return log.tail

    async def stored(self, session: str) -> int:
        """How many events the store has, which must be the log's."""
        found = await self.store.load(session)
        if found is None:
            return -1
        assert list(found.events) == self.logs[session].read(0, len(found.events))
        assert found.epochs == self.logs[session].epochs
        assert found.record == record(session)
        return len(found.events)

    async def end(self) -> None:
        self.feed.close()
        await self.running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.end()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_durable_returns_when_the_store_has_it_and_not_before(world: World) -> None:
    seq = world.say("a")
    await world.feed.durable("a", seq)
    assert now() == 1
    assert await world.stored("a") == 1
    await world.feed.durable("a", seq)
    assert now() == 1, "what is saved is not waited for"


async def test_durable_waits_for_the_record_of_a_session_without_events(world: World) -> None:
    world.log("a")
    await world.feed.durable("a", 0)
    assert await world.stored("a") == 0


async def test_many_logs_are_looked_at_in_slices_and_saved_in_one_go(world: World) -> None:
    for k in range(10 * SLICE):
        world.say(f"s{k}")
    waiting = asyncio.create_task(world.feed.durable("s0", 1), name="waits")
    turns = 0
    while not world.store.saves:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    assert [len(save) for save in world.store.saves] == [10 * SLICE]
    await waiting


async def test_what_comes_while_logs_are_looked_at_is_neither_lost_nor_saved_twice(world: World) -> None:
    for k in range(4 * SLICE):
        world.say(f"s{k}")
    waiting = asyncio.create_task(world.feed.durable("s0", 1), name="waits")
    turns = 0
    while not world.store.saves:
        await asyncio.sleep(0)
        turns += 1
        for k in range(0, 4 * SLICE, 7):
            world.say(f"s{k}")
    assert turns >= 4
    await waiting
    for k in range(4 * SLICE):
        await world.feed.durable(f"s{k}", world.logs[f"s{k}"].tail)
        assert await world.stored(f"s{k}") == world.logs[f"s{k}"].tail


async def test_where_each_turn_of_the_loop_is_long_the_feed_keeps_up_with_it(world: World) -> None:
    logs = 40 * SLICE
    world.store.seconds = 0
    for k in range(logs):
        world.say(f"s{k}")
    await world.feed.durable("s0", 1)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for _ in range(30):  # thousands of streams, and each writes once a turn
        for k in range(logs):
            world.say(f"s{k}")
        loop.spend(0.06)
        await asyncio.sleep(0)
    behind = [world.logs[f"s{k}"].tail - len((await stored(world, f"s{k}")).events) for k in range(logs)]
    assert sum(behind) <= 6 * logs, "what six turns brought"


async def test_what_one_save_has_no_room_for_is_not_gathered_again(world: World) -> None:
    world.store.seconds = 0
    await world.feed.durable("a", world.say("a"))
    last = world.say("a", 5 * SAVE_EVENTS)
    await asyncio.sleep(GATHER_S * 1.1)
    assert await world.stored("a") == last


async def test_a_store_that_never_waits_leaves_the_loop_to_others_between_two_saves() -> None:
    feed, log = Feed(MemoryStore()), Log("e1")
    feed.add(log, record("a"), saved=False)
    for _ in range(5 * SAVE_EVENTS):
        log.append(Content(data="a"))
    running = asyncio.create_task(feed.run(), name="feed")
    turns = 0
    while not feed.has("a", 5 * SAVE_EVENTS):
        await asyncio.sleep(0 if turns else GATHER_S)
        turns += 1
    assert turns >= 5
    feed.close()
    await running


async def test_what_is_due_comes_before_the_save(world: World) -> None:
    world.store.seconds = 0
    await world.feed.durable("a", world.say("a"))
    seq, saves, seen = world.say("a"), len(world.store.saves), list[int]()
    asyncio.get_running_loop().call_soon(lambda: seen.append(len(world.store.saves)))  # an agent's first step
    await world.feed.durable("a", seq)
    assert seen == [saves]


async def test_what_gathers_during_a_save_is_one_save_across_all_logs(world: World) -> None:
    world.say("a")
    await asyncio.sleep(0.5)
    for _ in range(3):
        world.say("b", 2)
        world.say("a")
        world.say("c")
        await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    assert world.store.saves == [{"a": 1}, {"b": 6, "a": 3, "c": 3}]


async def test_no_save_takes_more_than_its_limit_and_everyone_gets_a_turn(world: World) -> None:
    world.say("a", 2 * SAVE_EVENTS + 1)
    world.say("b", 2)
    last = world.say("c")
    await world.feed.durable("c", last)
    assert now() == 2
    await world.feed.durable("a", 2 * SAVE_EVENTS + 1)
    assert world.store.saves == [{"a": SAVE_EVENTS}, {"b": 2, "c": 1, "a": SAVE_EVENTS - 3}, {"a": 4}]


async def test_nothing_new_means_no_save(world: World) -> None:
    await world.feed.durable("a", world.say("a"))
    await asyncio.sleep(1000)
    assert len(world.store.saves) == 1


async def test_a_failing_store_is_told_after_three_tries(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.broken = True
    world.store.seconds = 0
    seq = world.say("a")
    with pytest.raises(StoreError, match="the disk is full"):
        await world.feed.durable("a", seq)
    assert len(world.store.saves) == 3
    assert now() == 0.25 + 0.5
    assert world.feed.failed is not None
    began = now()
    with pytest.raises(StoreError):
        await world.feed.durable("a", world.say("a"))
    assert now() == began, "while it fails nobody waits"
    assert caplog.messages == ["the store fails: the disk is full"]


async def test_what_nobody_waits_for_is_gathered(world: World) -> None:
    world.store.seconds = 0
    await world.feed.durable("a", world.say("a"))
    before = len(world.store.saves)
    for _ in range(10):
        world.say("a")
        await asyncio.sleep(GATHER_S / 20)
    assert len(world.store.saves) == before
    await asyncio.sleep(GATHER_S)
    assert [save["a"] for save in world.store.saves[before:]] == [10]


async def test_who_waits_ends_the_gathering(world: World) -> None:
    world.store.seconds = 0
    await world.feed.durable("a", world.say("a"))
    seq = world.say("a")
    await asyncio.sleep(GATHER_S / 2)
    began = now()
    await world.feed.durable("a", seq)
    assert now() == began
    world.say("a")
    before = len(world.store.saves)
    await asyncio.sleep(GATHER_S / 2)
    assert len(world.store.saves) == before, "and only theirs"


async def test_two_failures_are_nobodys_business(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.seconds = 0
    for _ in range(3):
        world.store.broken = True
        asyncio.get_running_loop().call_later(0.7, setattr, world.store, "broken", False)  # noqa: FBT003 - a value
        await world.feed.durable("a", world.say("a"))
    assert len(world.store.saves) == 9
    assert caplog.messages == []


async def test_a_store_that_works_again_gets_all_of_it_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    await world.feed.durable("a", world.say("a", 3))
    world.store.broken = True
    for _ in range(200):
        world.say("a")
        world.say("b", 2)
        await asyncio.sleep(0.3)
    pauses = len(world.store.saves)
    await asyncio.sleep(100 * (1 + RETRY_MAX_S))
    assert len(world.store.saves) == pauses + 100, "tried again, at a bounded pace"
    assert not world.feed.release("a")
    world.store.broken = False
    await asyncio.sleep(1 + RETRY_MAX_S + 1)
    assert world.feed.failed is None
    assert (await world.stored("a"), await world.stored("b")) == (203, 400)
    await world.feed.durable("a", 203)
    assert caplog.messages == ["the store fails: the disk is full", "the store works again"]


async def test_one_session_that_cannot_be_saved_does_not_hold_up_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.store.refused = "bad"
    waiting = [asyncio.create_task(world.feed.durable(name, world.say(name))) for name in ("a", "bad", "b")]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StoreError, type(None)]
    assert world.feed.failed is None
    with pytest.raises(StoreError):
        await world.feed.durable("bad", world.say("bad"))
    await world.feed.durable("a", world.say("a"))
    assert world.store.saves == [{"a": 1, "bad": 1, "b": 1}, {"a": 1, "b": 1}, {"a": 1}]
    world.say("bad")
    await asyncio.sleep(10)
    assert len(world.store.saves) == 3, "what is broken is not tried again"
    assert world.feed.release("bad"), "so that it can come back as the store has it"
    assert caplog.messages == ["a session can't be saved any more: an event can't be written (session=bad)"]


async def test_a_cancelled_waiter_disturbs_nobody(world: World) -> None:
    seq = world.say("a")
    waiters = [asyncio.create_task(world.feed.durable("a", seq)) for _ in range(3)]
    await asyncio.sleep(0.5)
    waiters[1].cancel()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
    assert await world.stored("a") == 1


async def test_close_saves_the_rest(world: World) -> None:
    world.say("a", 2 * SAVE_EVENTS)
    await asyncio.sleep(0.5)
    world.say("b", 5)
    await world.end()
    assert (await world.stored("a"), await world.stored("b")) == (2 * SAVE_EVENTS, 5)


@pytest.mark.parametrize("before", [0.0, 1000.0])
async def test_close_gives_a_broken_store_up_and_tells_who_waits(world: World, before: float) -> None:
    world.store.broken = True
    waiting = asyncio.create_task(world.feed.durable("a", world.say("a")))
    await asyncio.sleep(before)
    began = now()
    await world.end()
    assert now() - began <= 3 * world.store.seconds, "it must not pause any more"
    with pytest.raises(StoreError):
        await waiting


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_nobody_waits_for_a_feed_that_has_ended(end: str) -> None:
    world = World()
    seq = world.say("a")
    if end == "close":
        await world.end()
        seq = world.say("a")
    waiting = asyncio.create_task(world.feed.durable("a", seq))
    await asyncio.sleep(0.5)
    if end == "cancel":
        world.running.cancel()
    with pytest.raises(StoreError, match="closed"):
        await waiting
    ending = {"close": type(None), "cancel": asyncio.CancelledError}
    assert [type(e) for e in await asyncio.gather(world.running, return_exceptions=True)] == [ending[end]]


async def test_a_driver_s_bug_is_a_store_that_fails(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.bug = True
    seq = world.say("a")
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        await world.feed.durable("a", seq)
    assert caplog.messages[0].startswith("the store's driver raised what is no StoreError: ZeroDivisionError at ")
    world.store.bug = False
    await asyncio.sleep(1 + RETRY_MAX_S + 1)
    await world.feed.durable("a", seq)
    assert await world.stored("a") == 1


async def test_a_log_is_let_go_only_when_the_store_has_it(world: World) -> None:
    seq = world.say("a")
    assert not world.feed.release("a")
    await asyncio.sleep(0.5)
    assert not world.feed.release("a")
    await world.feed.durable("a", seq)
    assert world.feed.release("a")
    world.say("a")
    await asyncio.sleep(10)
    assert len(world.store.saves) == 1, "a log that was let go is fed no more"


# Deleted


async def test_a_removal_waits_for_the_save_that_has_its_log(world: World) -> None:
    world.say("a")
    await asyncio.sleep(0.5)
    assert len(world.store.saves) == 1, "or there is nothing to wait for"
    await world.feed.remove("a")
    assert now() == GATHER_S + 1
    assert await world.store.load("a") is None
    world.say("a")
    await world.feed.durable("b", world.say("b"))
    await asyncio.sleep(10)
    assert world.store.saves == [{"a": 1}, {"b": 1}], "and nothing of it is saved any more"
    assert await world.store.load("a") is None


async def test_who_waits_for_a_log_that_is_deleted_is_told_before_the_removal_returns(world: World) -> None:
    told: list[str] = []

    async def wait(seq: int) -> None:
        with pytest.raises(Refused) as error:
            await world.feed.durable("a", seq)
        told.append(error.value.code)

    waiting = [asyncio.create_task(wait(world.say("a"))) for _ in range(3)]
    world.feed.add(Log("other"), record("b"), saved=False)
    await asyncio.sleep(0)
    world.store.seconds = 0
    world.store.refused = "a"  # it will never be there
    await world.feed.remove("a")
    assert told == ["deleted"] * 3
    await asyncio.gather(*waiting)
    await wait(1)
    assert told == ["deleted"] * 4


async def test_a_log_whose_removal_fails_is_fed_as_before(world: World) -> None:
    await world.feed.durable("a", world.say("a"))
    world.store.unremovable = StoreError("the disk is full")
    world.say("a")
    with pytest.raises(StoreError, match="full"):
        await world.feed.remove("a")
    await world.feed.durable("a", world.say("a"))
    assert await world.stored("a") == 3
    world.store.unremovable = ZeroDivisionError()
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        await world.feed.remove("a")
    await world.feed.durable("a", world.say("a"))
    assert await world.stored("a") == 4


async def test_what_the_list_is_told_comes_with_the_batch_that_has_it(world: World) -> None:
    log = world.log("a")
    log.append(User(id="m1", data="What is a\tMonad?\nBriefly.", at=5.0, run="r1"))
    log.append(User(id="m2", data="More", at=7.0, run="r2"))
    log.append(Start(run="r1"))
    log.append(Content(data="It is a mon", run="r1"))
    log.append(Content(data="oid.", run="r1"))
    await world.feed.durable("a", log.tail)
    owner = record("a").owner
    [card] = (await world.store.page(owner, ["more", "briefly"], None, 9)).cards
    assert (card.title, card.updated) == ("What is a Monad?", 7.0)
    assert (await world.store.page(owner, ["monoid"], None, 9)).cards == ()
    world.store.broken = True
    log.append(Done(run="r1"))
    log.append(Start(run="r2"))
    await asyncio.sleep(3.5)
    world.store.broken = False
    await asyncio.sleep(10)
    assert (await world.store.page(owner, ["a monoid."], None, 9)).cards == (card,), "once it is saved"
    log.append(Interrupted(run="r2"))
    await world.feed.durable("a", log.append(Content(data="afterwards", run="r3")).seq)
    kept = vars(world.store)["_kept"]["a"]
    assert vars(vars(world.feed)["_fed"]["a"])["_starts"] == {}
    assert kept.said == ["what is a\tmonad?\nbriefly.", "more", "it is a monoid."], "each once"


async def test_an_owner_s_logs_are_caught_up_with_and_nobody_else_s_are_waited_for(world: World) -> None:
    world.store.seconds = 0
    for session in "abc":
        await world.feed.durable(session, world.say(session))
    world.store.refused = "c"
    world.say("c")
    await asyncio.sleep(1)  # it is never taken
    world.say("a")
    world.say("b", 2)
    began = now()
    await world.feed.caught_up(record("a").owner)
    assert (now(), await world.stored("a"), await world.stored("b")) == (began, 2, 3), "nor gathered"
    world.say("a")
    await world.feed.caught_up("somebody else")
    assert await world.stored("a") == 2


async def test_who_wants_to_catch_up_with_a_store_that_fails_is_not_held(world: World) -> None:
    world.store.seconds = 0
    await world.feed.durable("a", world.say("a"))
    world.store.broken = True
    world.say("a")
    await world.feed.caught_up(record("a").owner)
    assert await world.stored("a") == 1


async def test_a_loaded_log_saves_its_epoch_and_what_it_wrote_before_it_was_added(world: World) -> None:
    await world.feed.durable("a", world.say("a", 2))
    world.feed.release("a")
    saved = await world.store.load("a")
    assert saved is not None
    log = world.logs["a"] = Log("second", saved.events, saved.epochs)
    log.append(Content(data="before"))
    world.feed.add(log, saved.record, saved=True)
    log.append(Content(data="after"))
    await world.feed.durable("a", 4)
    assert await world.stored("a") == 4
    assert log.epochs == (Epoch("epoch of a", 1), Epoch("second", 3))


async def test_text_that_grew_while_the_store_was_busy_is_saved_as_it_was_read(world: World) -> None:
    log = world.log("a")
    for i in range(50):
        log.append_text(Content, "r1", f"{i} ", None, None)
        await asyncio.sleep(0.09)
    await world.feed.durable("a", log.tail)
    assert await world.stored("a") == log.tail < 10


@pytest.mark.virtual(seeds=25)
async def test_whatever_the_schedule_nothing_is_lost_doubled_or_waited_for_in_vain(
    request: pytest.FixtureRequest, world: World
) -> None:
    chance = random.Random(request.node.name)
    promised: dict[str, int] = dict.fromkeys("abcd", -1)

    async def talk(session: str) -> None:
        for _ in range(60):
            seq = world.say(session, chance.randint(1, 3))
            await asyncio.sleep(chance.choice([0, 0, 0.1, 1]))
            world.store.seconds = chance.choice([0, 0.05, 1])
            world.store.broken = chance.random() < 0.3
            if chance.random() < 0.5:
                try:
                    async with asyncio.timeout(chance.choice([0, 0.1, 5])):
                        await world.feed.durable(session, seq)
                except (TimeoutError, StoreError):
                    continue
                promised[session] = seq
                assert await world.stored(session) >= seq

    await asyncio.gather(*map(talk, promised))
    assert all(seq > 0 for seq in promised.values())
    world.store.broken = False
    await asyncio.sleep(2 * RETRY_MAX_S)
    for session in promised:
        assert await world.stored(session) == world.logs[session].tail
