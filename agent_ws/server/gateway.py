"""The running gateway: its sessions and the clients that are connected.

The one rule: a shutdown tells everybody before it takes anything away.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from starlette.types import Scope

from ..journal import note
from ..life import Life
from ..session import Session
from ..sessions import Sessions
from ..settings import Settings
from ..stores import Store
from ..tasks import Tasks
from ..turn import Agent
from .access import Access
from .door import Door
from .house import House
from .login import Login
from .outlet import Beat

LEAVING = 0.3
"""The part of `timeouts.close` that clients have to leave in. With it go, one after another, a grace for the tasks of
runs before it, the server's time for what is left (`serve.UNTIL_CUT`), and a second grace for tasks that didn't hear of
the first.
"""


class Gateway:
    """One process's gateway. An async context manager: it serves inside, and so is the agent, where it is one too."""

    def __init__(
        self,
        agent: Agent,
        settings: Settings,
        store: Store | None = None,
        login: Login | None = None,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.door = Door(settings)
        self.access = Access(settings, login)
        self.sessions = Sessions(agent, settings, store=store)
        self.house = House(settings.timeouts, self.door.lag, self.sessions.overload)
        self.house.watch(self.door.sweep)
        self._chance = chance
        self.beat = Beat()
        self._agent: Any = agent
        self._inside = AsyncExitStack()
        self._tasks = Tasks()
        self._clients: dict[int, Callable[[bool], None]] = {}
        self._joined = 0
        self._empty = asyncio.Event()
        self._told: bool | None = None
        """What the clients were told last of the shutdown."""
        self._shutdown = asyncio.Lock()
        self._drained = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if hasattr(self._agent, "__aenter__"):
                await stack.enter_async_context(self._agent)
            await stack.enter_async_context(self.sessions)
            if self.settings.tokens:
                stack.push_async_callback(self._tasks.close, self.settings.timeouts.grace)
                self._tasks.spawn(self.access.watch(), "tokens file")
            self._inside = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inside.__aexit__(kind, error, trace)

    def life(self) -> Life:
        """A new connection's."""
        return Life(self.settings.timeouts, asyncio.get_running_loop().time(), self._chance())

    async def new_session(self, owner: str, scope: Scope) -> tuple[Session, str]:
        """`Sessions.create`, for the client behind `scope`. Raises `Refused` where it has made too many."""
        self.door.new_session(scope["state"]["address"])
        return await self.sessions.create(owner)

    @property
    def draining(self) -> bool:
        """Whether the shutdown has begun."""
        return self.sessions.draining

    def revoke(self, owner: str | None = None, *, id: str | None = None) -> int:
        """End the connections and tickets of an owner, of one login, or of an owner's one login, at once; their runs go
        on. Returns how many connections that were.

        It ends what is there: let your check refuse the login first, or the client comes back with it.
        """
        if owner is None and id is None:
            raise ValueError("expected an owner or the id of a login, got neither")
        return self.access.revoke(lambda login: owner in (None, login.owner) and id in (None, login.id))

    def join(self, drain: Callable[[bool], None]) -> Callable[[], None]:
        """Count a client. `drain(last)` tells it that the shutdown has begun; with `last`, that no run is going.

        Returns what ends the counting.
        """
        self._joined += 1
        key = self._joined
        self._clients[key] = drain
        if self._told is not None:
            drain(self._told)  # it shook hands while the others were told

        def leave() -> None:
            self._clients.pop(key, None)
            if not self._clients:
                self._empty.set()

        return leave

    @property
    def present(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    @property
    def left(self) -> int:
        """How many clients have come and gone."""
        return self._joined - len(self._clients)

    async def drain(self) -> None:
        """Shut down in order: no new runs; clients without a run are told to come back; runs end, or are interrupted
        after `timeouts.drain`; the rest of the clients is told. Returns within `timeouts.drain` and `timeouts.close`.
        Again: waits for the first, and goes on where that was cancelled.
        """
        async with self._shutdown:
            if not self._drained:
                await self._drain()
                self._drained = True

    async def _drain(self) -> None:
        times = self.settings.timeouts
        note(logging.INFO, "draining", count=len(self._clients))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sessions.drain(times.drain), name="drain")
            await asyncio.sleep(0)  # it marks the sessions before it first waits
            self._tell(last=False)
        self._empty.clear()
        self._tell(last=True)
        if self._clients:
            try:
                async with asyncio.timeout(times.close * LEAVING):
                    await self._empty.wait()
            except TimeoutError:
                note(logging.WARNING, "clients did not leave in time", count=len(self._clients))

    def _tell(self, *, last: bool) -> None:
        self._told = last
        for drain in tuple(self._clients.values()):
            drain(last)
