"""A scene: something that can be cancelled at each of its steps, and what must be true however far it had come.

The one rule: a case leaves the world as it found it, so that the next one can tell what it did: no task, no descriptor,
no complaint, and a session that goes on.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias, cast

from msgspec import Struct
from steps import SteppedLoop, Steps

from agent_ws.events import ENDINGS, Done, Error, Event, Interrupted, Settled
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.stores import Store
from agent_ws.testing.invariants import check_log
from agent_ws.turn import Agent, Turn, drive

from ..proof import Disproved

Case: TypeAlias = Callable[[int], Awaitable[bool]]
"""Cancels after so many steps of the loop, and checks. True: the scene had come to its own end before that."""


class Scene(Struct, frozen=True):
    """One thing to sweep."""

    name: str
    open: Callable[[Path], AbstractAsyncContextManager[Case]]
    """Makes its world, in a folder to write into."""
    virtual: bool = False
    """It has no socket and no thread, so time need not pass."""


class Notes:
    """What an agent knows of itself: receipts are compared with it."""

    def __init__(self) -> None:
        self.fate = "never began"
        self.tools: dict[str, str] = {}
        self.stopped = False
        """The stop has come."""

    def finished(self, tool: str) -> None:
        """A call's work is done."""
        self.tools[tool] = "finished_after_stop" if self.stopped else "finished"


Script: TypeAlias = Callable[[Turn, Notes], Awaitable[None]]


def expect(holds: object, what: str) -> None:
    """Raise `Disproved` where something does not hold."""
    if not holds:
        raise Disproved(what)


def steps() -> Steps:
    """Of the running loop."""
    return cast("SteppedLoop", asyncio.get_running_loop()).steps


def descriptors() -> int:
    """How many files and sockets the process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a thousand times a second


async def becomes(true: Callable[[], bool], what: Callable[[], str]) -> None:
    """Return when `true()`. What is closed is gone some steps later; what it waits for, in no time to speak of."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0)
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise Disproved(what())


class Base:
    """What is there between two cases, when it is made and always. `others` counts descriptors that come and go."""

    def __init__(self, others: Callable[[], int] = lambda: 0) -> None:
        self._tasks = asyncio.all_tasks()
        self._others = others
        self._open = descriptors() - others()

    async def again(self) -> None:
        """Return when there is nothing else."""
        await becomes(lambda: not self._left(), lambda: f"expected no task to be left, got {self._left()}")
        await becomes(
            lambda: descriptors() - self._others() == self._open,
            lambda: f"expected {self._open} descriptors as before, got {descriptors() - self._others()}",
        )

    def _left(self) -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks() - self._tasks}


async def settled(session: Session) -> list[Event]:
    """The log, once nothing is going."""
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def warm(sessions: Sessions) -> None:
    """Have the store open what it opens on its first save, so that it is no case's doing."""
    session, _ = await sessions.create("me")
    await session.say("hi")
    await settled(session)


async def ok(turn: Turn) -> None:
    """Answers."""
    turn.content("ok")


def playing(script: Script, notes: Notes, otherwise: Agent = ok) -> Agent:
    """An agent that plays `script` for `go`, and is another one for everything else."""

    async def agent(turn: Turn) -> None:
        if turn.message != "go":
            await drive(otherwise, turn)
            return
        notes.fate = "began"
        try:
            await script(turn, notes)
        except asyncio.CancelledError:
            notes.fate = "cancelled"
            raise
        except Exception:
            if not notes.stopped:  # else it is how it went
                notes.fate = "finished"
            raise
        notes.fate = "finished"

    return agent


def driving(agent: Agent) -> Script:
    """A script that is an agent of its own."""

    async def script(turn: Turn, _: Notes) -> None:
        await drive(agent, turn)

    return script


def interrupt(session: Session) -> None:
    """What a Stop does."""
    session.interrupt()


class Talk:
    """A run that is stopped, in a new session each time; the sessions share their world."""

    def __init__(
        self,
        sessions: Sessions,
        notes: Notes,
        *,
        stop: Callable[[Session], object] = interrupt,
        ending: type[Interrupted | Done | Error] = Interrupted,
        alone: type[Interrupted | Done | Error] = Done,
        quiet: bool = False,
        begin: Callable[[Session], object] | None = None,
        others: Callable[[], int] = lambda: 0,
    ) -> None:
        self._sessions = sessions
        self._notes = notes
        self._stop = stop
        self._ending = ending
        """What a run gets by the stop."""
        self._alone = alone
        """And what it comes to by itself."""
        self._quiet = quiet
        self._begin = begin
        self._base = Base(others)
        self.receipt = Settled("lost")
        """Of the last case."""

    async def case(self, k: int) -> bool:
        """One case, see `Case`."""
        session, _ = await self._sessions.create("me")
        await self.answered(session)
        notes = self._notes
        notes.fate, notes.tools, notes.stopped = "never began", {}, False

        def stop() -> None:
            notes.stopped = self._stop(session) is not False

        run = session.take("go").run
        if self._begin is not None:
            self._begin(session)
        steps().arm(k, stop, quiet=self._quiet)
        events = await settled(session)
        whole = not steps().disarm() or steps().silent
        self._check([event for event in events if event.run == run], stopped=not whole or steps().silent)
        await self._base.again()
        await self.answered(session)
        check_log(session.log.read(0), over=True)
        return whole

    async def answered(self, session: Session) -> None:
        """See that the session goes on. Called before a case and after it."""
        run = (await session.say("and?")).run
        ending = next(e for e in await settled(session) if e.run == run and isinstance(e, ENDINGS))
        expect(isinstance(ending, Done), f"expected the session to go on, got {ending}")

    def _check(self, events: list[Event], *, stopped: bool) -> None:
        endings = [event for event in events if isinstance(event, ENDINGS)]
        expect(len(endings) == 1, f"expected one ending, got {endings}")
        [ending], receipt = endings, events[-1]
        expected = (self._ending, self._alone) if stopped else (self._alone,)
        expect(isinstance(ending, expected), f"expected {expected}, got {ending}")
        assert isinstance(receipt, Settled), receipt
        self.receipt = receipt
        expect(receipt.stop_ms < 1000, f"expected one cancellation to be enough, got a second one: {receipt}")
        if self._ending is Interrupted:
            fate = "finished" if self._notes.fate == "finished" else "cancelled"
            expect(receipt.task == fate, f"expected the truth, {self._notes.fate}, got {receipt}")
        told = dict(receipt.tools)
        if self._ending is not Interrupted:  # a part was stopped, and which calls were in it is not noted
            told |= {
                tool: "finished_after_stop" for tool in told if self._notes.tools.get(tool) == "finished_after_stop"
            }
        expect(told == self._notes.tools, f"expected the truth, {self._notes.tools}, got {receipt}")


def talking(
    script: Script,
    *,
    settings: Settings | None = None,
    store: Callable[[Path], Store] | None = None,
    stop: Callable[[Session], object] = interrupt,
    ending: type[Interrupted | Done | Error] = Interrupted,
    alone: type[Interrupted | Done | Error] = Done,
    begin: Callable[[Session], object] | None = None,
) -> Callable[[Path], AbstractAsyncContextManager[Case]]:
    """The world of a scene that is one run of `script`."""

    @asynccontextmanager
    async def world(folder: Path) -> AsyncGenerator[Case]:
        notes = Notes()
        sessions = Sessions(playing(script, notes), settings or Settings(), store=store(folder) if store else None)
        async with sessions:
            await warm(sessions)
            yield Talk(sessions, notes, stop=stop, ending=ending, alone=alone, begin=begin).case

    return world
