"""The connection of the moment and the clock.

The one rule: at most one connection is listened to, and at most one timer runs.
"""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from ..frames import ClientFrame
from ..tasks import Tasks
from .websocket import Listener, Transport

CLOSE_S = 1.0
"""For the end of tasks that were cancelled, and wait for nothing."""

Dial: TypeAlias = Callable[[Listener, Tasks], Transport]
"""What opens a connection, at once, and tells the listener of it."""


class Line:
    """Where the client's frames go."""

    def __init__(self, dial: Dial, listener: Listener, wake: Callable[[], None]) -> None:
        self._dial = dial
        self._listener = listener
        self._wake = wake
        self._tasks = Tasks()
        self._transport: Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Milliseconds of the loop's clock."""
        return asyncio.get_running_loop().time() * 1000

    def connect(self) -> None:
        """Open a connection. The one before it has ended, or was dropped."""
        self._transport = self._dial(self._listener, self._tasks)

    def send(self, frame: ClientFrame) -> None:
        """Send it on the connection, behind what was sent before."""
        if self._transport is not None:
            self._transport.send(frame)

    def drop(self) -> None:
        """Let go of the connection: what was said on it leaves, and nothing comes from it any more."""
        if self._transport is not None:
            self._transport.drop()

    def wake_at(self, at: float | None) -> None:
        """Wake then, and not when it was said before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = asyncio.get_running_loop().call_at(at / 1000, self._wake)

    async def close(self) -> None:
        """Wait for the end of a connection that was dropped, which is bounded, and of all tasks."""
        try:
            if self._transport is not None:
                await self._transport.gone()
        finally:
            await self._tasks.close(CLOSE_S)
