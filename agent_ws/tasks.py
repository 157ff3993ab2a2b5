"""The parent of every task that outlives the call which started it.

The one rule: no task is started anywhere but here, so none is lost, none fails in silence, and shutdown knows them
all. An `asyncio.TaskGroup` won't do: one failure would cancel every run, and a task that swallows its cancellation
would hold the exit for ever.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from .journal import bug


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
