"""All sessions of the process: made, found, let go, drained.

The one rule: a session is in memory at most once, so its log has one writer. It is found by id, and used only by who
`admits` says.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from .errors import FrameError, Refused
from .fold import recover
from .journal import note
from .log import Log
from .session import Services, Session, admits, hash_token
from .settings import Settings
from .stores import Card, Feed, Mark, Page, Record, Store, open_store
from .tasks import Tasks
from .turn import Agent


def new_id() -> str:
    """128 random bits, in 22 characters that are safe in a URL and have no full stop."""
    return secrets.token_urlsafe(16)


class Sessions:
    """The registry. An async context manager: sessions live inside it, and the store is complete when it is left.

    `store` is a driver that is not open yet; without it `settings.store` names one.
    """

    def __init__(
        self,
        agent: Agent,
        settings: Settings,
        *,
        store: Store | None = None,
        wall: Callable[[], float] = time.time,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self.settings = settings
        self._store = open_store(settings.store) if store is None else store
        self._feed = Feed(self._store)
        self._tasks = Tasks()
        self._feeding: asyncio.Task[None] | None = None
        self._services = Services(
            agent=agent, settings=settings, feed=self._feed, tasks=self._tasks, wall=wall, new_id=new_id
        )
        self._loaded: dict[str, Session] = {}
        """In the order of their last use."""
        self._owned: Counter[str] = Counter()
        """How many of those each owner has."""
        self._loading = asyncio.Lock()
        self._looking = asyncio.Lock()
        """One look into the list at a time: a save has to wait for one at most."""
        self._deleting: dict[str, tuple[Record, asyncio.Task[None]]] = {}
        self._drained = False

    async def __aenter__(self) -> Self:
        await self._store.open()
        # Its parent is this registry. It is not cancelled at the end: it ends by itself, with everything saved.
        self._feeding = asyncio.create_task(self._feed.run(), name="feed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A stack: who cancels the end cuts short what is waited for, and the rest is given back all the same.
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self._feed_the_rest)
            stack.push_async_callback(self._end_deletions)
            stack.push_async_callback(self._end_tasks)
            await self.drain(grace=0)

    async def _end_tasks(self) -> None:
        left = await self._tasks.close(self.settings.timeouts.grace)
        if left:
            note(logging.WARNING, "tasks ignore cancellation and are left behind", count=left)

    async def _end_deletions(self) -> None:
        if self._deleting:
            await asyncio.wait([task for _, task in self._deleting.values()])

    async def _feed_the_rest(self) -> None:
        self._feed.close()
        if self._feeding is not None:
            await self._feeding

    @property
    def ready(self) -> bool:
        """Whether a message would be taken now."""
        return self._feeding is not None and not (
            self._services.draining or self._services.overloaded or self._feed.failed
        )

    def overload(self, overloaded: bool) -> None:  # noqa: FBT001 - a callback
        """Begin no new run while it is `overloaded`."""
        self._services.overloaded = overloaded

    @property
    def draining(self) -> bool:
        """Whether `drain` has begun."""
        return self._services.draining

    async def create(self, owner: str) -> tuple[Session, str]:
        """A new session of `owner`'s, and its token, which is nowhere else. Raises `Refused`."""
        self._check_entered()
        if self._services.draining:
            raise Refused("The server is shutting down: come back.", code="shutting_down")
        self._make_room(owner, 1)
        make = self._services.new_id
        token = make()
        record = Record(make(), owner, hash_token(token), self._services.wall())
        log = Log(make())
        self._feed.add(log, record, saved=False)
        session = Session(record, log, self._services)
        self._keep(session)
        return session, token

    async def find(self, session: str, *, owner: str | None, token: str | None) -> Session:
        """The session, for a client that may use it.

        Raises `FrameError` with `session_not_found` where there is none, and where it is somebody else's. Raises
        `Refused` where the owner has too many in use, `StoreError` where the store can't be read.
        """
        self._check_entered()
        found = await self._find(session)
        if found is None or not admits(found.record, owner, token):
            raise _not_found()
        self._keep(found)
        self._make_room(found.owner, 0, but=found)
        return found

    async def _find(self, session: str) -> Session | None:
        while session in self._deleting:
            await asyncio.wait({self._deleting[session][1]})
        found = self._loaded.get(session)
        if found is not None and found.idle and self._feed.broken(session) is not None:
            self._let_go(found)  # its log will never be saved: the store's own goes on
            found = self._loaded.get(session)
        if found is None:
            async with self._loading:  # two tabs that come back at once get one session
                found = self._loaded.get(session) or await self._load(session)
                if found is not None:
                    self._keep(found)  # before anything else: its log is being fed, and a second one must not be
        return found

    # The list of an owner's sessions

    async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
        """A part of `owner`'s list as it is now, the newest first. It has fewer than `limit`, and a `next`, where to
        find as many would take longer than `timeouts.search`. Raises `StoreError`.
        """
        self._check_entered()
        await self._feed.caught_up(owner)
        clock = asyncio.get_running_loop().time
        until = clock() + self.settings.timeouts.search
        cards: list[Card] = []
        while True:
            async with self._looking:
                page = await self._store.page(owner, words, before, limit - len(cards))
            cards += page.cards
            before = page.next
            if before is None or len(cards) >= limit or clock() >= until:
                return Page(tuple(cards), before)

    def busy(self, session: str) -> bool:
        """Whether a run of it is going or waits."""
        found = self._loaded.get(session)
        return found is not None and found.busy

    async def rename(self, session: str, title: str, *, owner: str | None, token: str | None) -> None:
        """Give a session a title, durably. Raises as `find` does."""
        await self._own(session, owner, token)
        if session in self._loaded:
            await self._feed.durable(session, 0)  # the store may not have it yet
        await self._store.rename(session, title)

    async def delete(self, session: str, *, owner: str | None, token: str | None) -> None:
        """Delete a session for good: what goes is interrupted, its clients are shown out, the store forgets it.

        Returns when that is durable; a caller who is cancelled changes nothing of it. Raises as `find` does; after a
        `StoreError` the session is there as before, but for what was interrupted.
        """
        record = await self._own(session, owner, token)
        if session not in self._deleting:
            # Its parent is this registry, which waits for it at its end: half a deletion is none.
            task = asyncio.create_task(self._delete(record), name="delete")
            task.add_done_callback(lambda task: task.cancelled() or task.exception())  # they may all have left
            self._deleting[session] = record, task
        await asyncio.shield(self._deleting[session][1])

    async def _own(self, session: str, owner: str | None, token: str | None) -> Record:
        """Who a session is, for who may use it: also for one that can't be loaded."""
        self._check_entered()
        record = self._known(session) or await self._store.record(session)
        if record is None or not admits(record, owner, token):
            raise _not_found()
        return record

    def _known(self, session: str) -> Record | None:
        if session in self._deleting:
            return self._deleting[session][0]
        found = self._loaded.get(session)
        return found and found.record

    async def _delete(self, record: Record) -> None:
        name = record.session
        try:
            async with self._loading:
                found = self._loaded.get(name)  # the lock is fair: who began to load it has it, and nobody begins now
            if found is not None:
                found.leaving = True
                found.interrupt(reason="deleted")
            try:
                await self._feed.remove(name)
            except BaseException:
                if found is not None:
                    found.leaving = False
                raise
            if found is not None:
                self._forget(found)
                found.shut_out()
        finally:
            del self._deleting[name]

    def _check_entered(self) -> None:
        """Without the feed a message would wait for ever to be kept."""
        if self._feeding is None:
            raise RuntimeError(
                "expected the lifespan of build_app's application to run; one that mounts it has to run it"
            )

    async def drain(self, grace: float) -> None:
        """Take no new run; let those that are going end for `grace` seconds, then interrupt them with reason
        `shutdown`.

        Returns when all have their receipts, or their tasks were given the time to go and didn't. Again: at once, they
        had it.
        """
        if self._drained:
            return
        self._services.draining = True
        if grace:
            await self._settled(grace)
        for session in tuple(self._loaded.values()):
            session.shut_down()
        await self._settled(self.settings.timeouts.grace)
        self._drained = True

    async def _settled(self, seconds: float) -> None:
        """Return when no session works, or after `seconds`. What waits will not begin any more: nobody waits for it."""
        try:
            async with asyncio.timeout(seconds):
                for session in tuple(self._loaded.values()):
                    while session.working:
                        await session.log.wait(session.log.tail)
        except TimeoutError:
            pass

    async def _load(self, session: str) -> Session | None:
        saved = await self._store.load(session)
        if saved is None:
            return None
        log = Log(self._services.new_id(), saved.events, saved.epochs)
        self._feed.add(log, saved.record, saved=True)
        for event in recover(saved.events, self._services.wall()):
            log.append(event)
        return Session(saved.record, log, self._services)

    def _keep(self, session: Session) -> None:
        """Note its use, and let go of what has been idle longest where there are too many."""
        if self._loaded.pop(session.id, None) is None:
            self._owned[session.owner] += 1
        self._loaded[session.id] = session
        excess = len(self._loaded) - self.settings.limits.loaded_sessions
        if excess > 0:
            for other in [s for s in self._loaded.values() if s.idle and s is not session][:excess]:
                self._let_go(other)

    def _make_room(self, owner: str, more: int, *, but: Session | None = None) -> None:
        """Let go of `owner`'s idle sessions where there would be too many with `more`. Raises `Refused` where all are
        in use.
        """
        limit = self.settings.limits.owner_sessions
        if self._owned[owner] + more <= limit:
            return
        # All of them: one at a time, each new session would look through all there are.
        idle = [s for s in self._loaded.values() if s.owner == owner and s.idle and s is not but]
        unsaved = sum(not self._let_go(other) for other in idle)
        if self._feed.failed is not None:
            unsaved = 0  # that may last: they would be without end
        if self._owned[owner] - unsaved + more > limit:
            raise Refused(f"expected at most {limit} sessions of yours in use, got one more", code="too_many_sessions")

    def _let_go(self, session: Session) -> bool:
        """Forget a session that is idle. False: the store is not done with it yet."""
        if not self._feed.release(session.id):
            return False
        self._forget(session)
        return True

    def _forget(self, session: Session) -> None:
        del self._loaded[session.id]
        self._owned[session.owner] -= 1
        if not self._owned[session.owner]:
            del self._owned[session.owner]


def _not_found() -> FrameError:
    """The same where there is none and where it is somebody else's: an answer must not tell which ids exist."""
    return FrameError("expected a session of yours, got an id that is not one", code="session_not_found")
