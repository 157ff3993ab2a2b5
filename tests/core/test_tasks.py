"""Work at the same time, and waiting for what was told to stop."""

import asyncio
from typing import Any

import anyio
import pytest

from agent_ws.tasks import all_of, wait_out

pytestmark = pytest.mark.virtual(seeds=3)


def now() -> float:
    return asyncio.get_running_loop().time()


async def nap(seconds: float, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    if isinstance(value, Exception):
        raise value
    return value


async def tidy(log: list[str], seconds: float = 1) -> None:
    """Takes its time to go, and goes at once when it is told again."""
    try:
        await asyncio.sleep(100)
    finally:
        try:
            await asyncio.sleep(seconds)
            log.append("tidied")
        except asyncio.CancelledError:
            log.append("hurried")


def others() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()} - {asyncio.current_task().get_name()}  # pyright: ignore[reportOptionalMemberAccess]


async def test_results_are_in_the_order_of_the_work() -> None:
    assert await all_of([nap(3, "a"), nap(1, "b"), nap(2, "c")], "work") == ["a", "b", "c"]
    assert now() == 3
    assert await all_of([], "nothing") == []


async def test_the_first_failure_stops_the_others_and_is_raised_once_they_are_gone() -> None:
    log: list[str] = []
    with pytest.raises(ValueError, match="one"):
        await all_of([nap(1, ValueError("one")), tidy(log), nap(5, ValueError("two"))], "work")
    assert log == ["tidied"]
    assert now() == 2
    assert not others()


async def test_a_cancellation_is_passed_on_and_waits_for_all() -> None:
    log: list[str] = []
    task = asyncio.create_task(all_of([tidy(log), tidy(log, 3)], "work"))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["tidied", "tidied"]
    assert now() == 4
    assert not others()


async def test_a_second_cancellation_is_passed_on_too() -> None:
    log: list[str] = []
    task = asyncio.create_task(all_of([tidy(log), tidy(log, 3)], "work"))
    for _ in range(2):
        await asyncio.sleep(1)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(log) == ["hurried", "hurried"] or sorted(log) == ["hurried", "tidied"]
    assert now() == 2


async def test_a_scope_s_cancellation_is_the_scope_s_own_and_comes_once() -> None:
    log: list[str] = []
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(1, scope.cancel)
        await all_of([tidy(log)], "work")
    assert scope.cancelled_caught
    assert log == ["tidied"], "level cancellation would have hurried it"
    assert now() == 2


async def test_a_failure_does_not_hide_a_cancellation() -> None:
    log: list[str] = []
    task = asyncio.create_task(all_of([nap(1, ValueError("one")), tidy(log, 5)], "work"))
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["hurried"]


async def test_what_is_waited_out_is_waited_for_through_cancellations() -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(3, done.set_result, None)
    task = asyncio.create_task(wait_out(done, 10))
    for _ in range(2):
        await asyncio.sleep(1)
        task.cancel()
    await task
    assert now() == 3


async def test_what_does_not_come_is_not_waited_for_longer() -> None:
    never = asyncio.get_running_loop().create_future()
    await wait_out(never, 5)
    assert now() == 5
    assert not never.cancelled()
    never.cancel()


async def test_a_scope_cancels_no_wait_a_thousand_times() -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(3, done.set_result, None)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await wait_out(done, 10)
    assert now() == 3
