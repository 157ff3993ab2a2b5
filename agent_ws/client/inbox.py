"""What has happened and nobody has read yet.

The one rule: it keeps the order, loses nothing, and hands each notice out once, however many read.
"""

import asyncio
from collections import deque

from . import actions as do
from .codes import Closed


class Inbox:
    """The notices of one client."""

    def __init__(self) -> None:
        self._unread: deque[do.Notice] = deque()
        self._more = asyncio.Event()
        self._ended = False
        self._failure: Closed | None = None

    def __len__(self) -> int:
        return len(self._unread)

    def put(self, notice: do.Notice) -> None:
        """It has happened. Of states in a row the newest is enough: a server that is gone for days makes many."""
        if self._unread and isinstance(notice, do.State) and isinstance(self._unread[-1], do.State):
            self._unread.pop()
        self._unread.append(notice)
        self._more.set()

    def end(self, failure: Closed | None) -> None:
        """Nothing more comes; behind what is there, `next` raises `failure` or returns None. The first call counts."""
        if not self._ended:
            self._ended, self._failure = True, failure
        self._more.set()

    async def next(self) -> do.Notice | None:
        """The next one; None after the last. Raises `Closed`."""
        while not self._unread:
            if self._failure is not None:
                raise Closed(self._failure.code, self._failure.reason)
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
        return self._unread.popleft()
