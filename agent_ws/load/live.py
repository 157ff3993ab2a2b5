"""Where users get time and connections from.

The one rule: there is one clock, of this machine: what one process sends, another one may time.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..tasks import Tasks
from .link import Link, Listener, clock
from .target import Target
from .wires import WIRES


class Timer(Protocol):
    """What is to be called."""

    def cancel(self) -> object:
        """Don't."""
        ...


class Source(Protocol):
    """An event loop's time and connections, or a test's."""

    def now(self) -> float:
        """Seconds."""
        ...

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call at that time."""
        ...

    def connect(self, listener: Listener) -> Link:
        """A connection that is being opened. The listener is told how that went, later."""
        ...


class Live:
    """Real ones."""

    def __init__(self, target: Target, tasks: Tasks) -> None:
        self._target = target
        self._context = target.context
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return clock()

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        return self._loop.call_later(max(0.0, when - clock()), call)

    def connect(self, listener: Listener) -> Link:
        link = WIRES[self._target.wire].link(self._target, listener)
        self._tasks.spawn(self._open(link, listener), "connect")
        return link

    async def _open(self, link: Link, listener: Listener) -> None:
        target = self._target
        try:
            await self._loop.create_connection(lambda: link, target.host, target.port, ssl=self._context)
        except OSError as error:  # what TLS refuses is one too
            listener.lost(f"could not connect ({error.strerror or type(error).__name__})")
