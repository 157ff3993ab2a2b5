"""The virtual loop itself: other tests are only as true as it is."""

import asyncio
import time

import pytest
from loop import Stuck, VirtualLoop, run


@pytest.mark.virtual
async def test_a_day_passes_at_once_and_timers_fire_in_order() -> None:
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    fired: list[float] = []

    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append(loop.time())

    await asyncio.gather(nap(200_000), nap(0.3), nap(0.1))
    assert fired == [0.1, 0.3, 200_000]
    assert time.monotonic() - began < 10


@pytest.mark.virtual
async def test_a_timeout_fires_at_its_virtual_moment() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == 60


async def test_without_the_mark_time_is_real() -> None:
    assert type(asyncio.get_running_loop()).__name__ != "VirtualLoop"


def test_waiting_for_nothing_fails_at_once_and_names_the_waiter() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="forgotten")

    with pytest.raises(Stuck, match="forgotten"):
        run(main())


async def order() -> list[int]:
    out: list[int] = []

    async def step(i: int) -> None:
        await asyncio.sleep(0)
        out.append(i)

    await asyncio.gather(*map(step, range(6)))
    return out


def test_a_seed_is_another_order_and_always_the_same() -> None:
    assert run(order()) == list(range(6))
    orders = [run(order(), seed) for seed in range(10)]
    assert orders == [run(order(), seed) for seed in range(10)]
    assert len({tuple(o) for o in orders}) > 5


seen: set[tuple[int, ...]] = set()


@pytest.mark.virtual(seeds=5)
async def test_the_mark_runs_a_test_once_for_each_seed() -> None:
    new = tuple(await order())
    assert new not in seen
    seen.add(new)


@pytest.mark.virtual
async def test_who_sleeps_for_what_is_left_arrives() -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 1e-12

    async def sleeper() -> None:
        while loop.time() < end:  # noqa: ASYNC110 - it waits for a moment, not for an event
            await asyncio.sleep(end - loop.time())

    await asyncio.gather(sleeper(), sleeper())
    assert loop.time() < 1e-6


@pytest.mark.virtual
async def test_a_step_that_takes_long_makes_timers_late() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    fired: list[float] = []
    loop.call_later(0.1, lambda: fired.append(loop.time()))
    loop.call_later(0.4, lambda: fired.append(loop.time()))
    loop.spend(0.25)
    assert loop.time() == 0.25
    await asyncio.sleep(1)
    assert fired == [0.25, 0.4]
