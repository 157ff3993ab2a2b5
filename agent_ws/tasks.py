"""The parent of every task that outlives the call which started it.

The one rule: no task is started anywhere but here, so none is lost, none fails in silence, and shutdown knows them
all. An `asyncio.TaskGroup` won't do: one failure would cancel every run, and a task that swallows its cancellation
would hold the exit for ever.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import anyio

from .journal import bug

T = TypeVar("T")


class Tasks:
    """A set of running tasks."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start `work`. What it raises is logged by type, as a bug."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            bug("a task failed", error, task=task.get_name())

    async def close(self, timeout: float) -> int:
        """Cancel all, wait at most `timeout` seconds, and return how many would not go."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)
        return len(self._running)


async def all_of(works: Iterable[Coroutine[Any, Any, T]], name: str) -> list[T]:
    """Run them at the same time and return their results in order, when all are over, whatever ends them.

    The first that fails cancels the others. A cancellation is passed on to all, a repeated one too, which an
    `asyncio.TaskGroup` would keep to itself.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work, name=f"{name} {place}") for place, work in enumerate(works)]
    left = set(tasks)
    stop: asyncio.CancelledError | None = None
    if left:
        try:
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError as cancelled:
            stop = cancelled
    with anyio.CancelScope(shield=True):  # a scope around this would cancel again at each step of the loop
        while left:
            for task in left:
                task.cancel()
            try:
                _, left = await asyncio.wait(left)
            except asyncio.CancelledError as cancelled:
                stop = cancelled
    failures = [task.exception() for task in tasks if not task.cancelled()]
    if stop is not None:
        raise stop
    for failure in failures:
        if failure is not None:
            raise failure
    return [task.result() for task in tasks]


async def wait_out(future: asyncio.Future[Any], seconds: float) -> None:
    """Wait for `future` at most so long, whoever cancels meanwhile: for what has been told to stop already."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    with anyio.CancelScope(shield=True):
        while not future.done() and (left := until - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait({future}, timeout=left)
