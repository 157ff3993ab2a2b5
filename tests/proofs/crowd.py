"""Cases of one proof side by side in one event loop. The one rule: the first that fails is the one that is told."""

import asyncio
from collections.abc import Awaitable, Callable

from .proof import Course


async def crowd(course: Course, one: Callable[[int], Awaitable[None]], at_once: int) -> None:
    """Try all cases, `at_once` at a time. After a failure no other begins."""
    cases = course.cases()
    failed: list[tuple[int, Exception]] = []

    async def work() -> None:
        for case in cases:
            try:
                await one(case)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's
                failed.append((case, error))
            if failed:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, course.count)):
            group.create_task(work())
    if failed:
        case, error = failed[0]
        with course.at(case):
            raise error
