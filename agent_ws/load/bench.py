"""`agent-ws bench`: the server, its peers if they are asked for, and the generator itself.

The one rule: what is compared has had the same load, from the same users, in the same run.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from .peers import OURS, PEERS, PUSHER, SSE, running
from .plan import Plan
from .probe import fitted
from .report import Ceiling, Report, report, result, warnings
from .run import Load, Outcome, listener
from .tally import Tally
from .target import Target

CALIBRATION = Plan(connections=64, tokens=1500, rate=800, think=0.001, interrupts=0, drops=0, seconds=1.5, warm=0.8)
"""More than a server that does nothing can send, so that the generator is what is full."""

NO_RESUME = "The peers have no resume: what was still to come of an answer when its connection was lost is gone."


class Screen(Protocol):
    """Where the course of it is shown."""

    def begin(self, title: str, plan: Plan) -> None:
        """A load begins."""
        ...

    def told(self, tally: Tally, seconds: float) -> None:
        """What has been counted by now, `seconds` after its beginning."""
        ...


class Bench(Struct, kw_only=True):
    """What is to be done."""

    plan: Plan
    target: Target | None
    """None: our own server, which is started for it."""
    workers: int = 1
    peer: bool = False
    calibration: Plan = CALIBRATION
    provider: bool = False
    """Our own server's agent has its tokens from a provider's process, as a real one does."""


class _Stop:
    """What Ctrl-C ends: the load that is going, and what would come after it. Between loads it ends `task`."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.pressed = False
        self.load: Load | None = None
        self._task = task

    def press(self) -> None:
        self.pressed = True
        if self.load is not None:
            self.load.stop()
        elif self._task is not None:
            self._task.cancel()


@asynccontextmanager
async def _listening(press: Callable[[], None]) -> AsyncGenerator[None]:
    loop = asyncio.get_running_loop()
    kinds = (signal.SIGINT, signal.SIGTERM)
    try:
        with suppress(NotImplementedError):  # Windows: there it ends without a report
            for kind in kinds:
                loop.add_signal_handler(kind, press)
        yield
    finally:
        with suppress(NotImplementedError):
            for kind in kinds:
                loop.remove_signal_handler(kind)


async def bench(what: Bench, screen: Screen) -> Report:
    """Do it. Raises `NoServer`, `DidNotStart`. Ctrl-C ends it early, with what there is by then, or with
    `CancelledError` where there is nothing yet.
    """
    stop = _Stop(asyncio.current_task())

    async def load(title: str, target: Target, plan: Plan, pid: int | None) -> Outcome:
        screen.begin(title, plan)
        stop.load = Load(target, plan, workers=what.workers, pid=pid, told=screen.told)
        try:
            return await stop.load.run()
        finally:
            stop.load = None

    async with _listening(stop.press), AsyncExitStack() as servers:
        pid = None
        target = what.target
        title = OURS.title
        if target is None:
            ports: list[str] = []
            if what.provider:
                ports.append(str((await servers.enter_async_context(running(SSE))).target.port))
            own = await servers.enter_async_context(running(OURS, *ports))
            target, pid = own.target, own.pid
        elif target.local:
            pid = listener(target.port)
        plan = await fitted(what.plan, target)
        found = report(f"{'https' if target.tls else 'http'}://{target.authority}", plan, what.workers)
        if not plan.exact and what.plan.message is None:
            found.notes.append(
                f"The agent there is not the load's own (agent-ws serve agent_ws.load.work:agent), so it was asked "
                f"{plan.message!r}, its pieces of text count as tokens, and nobody knows when they were due."
            )
        async with running(PUSHER) as pusher:
            outcome = await load("the generator itself", pusher.target, what.calibration, pusher.pid)
            cpu, tokens = sum(outcome.busy), outcome.tally.counts.get("tokens", 0)
            if cpu and tokens:
                each = cpu * outcome.seconds / tokens
                found.ceiling = Ceiling(what.workers / each, each * 1e6)
        if not stop.pressed:
            found.results.append(result("server", title, await load(title, target, plan, pid)))
        await servers.aclose()  # it must not take part in what its peers do
        for name, peer in PEERS.items() if what.peer else ():
            if not stop.pressed:
                async with running(peer) as server:
                    same = replace(plan, message=None)
                    outcome = await load(peer.title, server.target, same, server.pid)
                    found.results.append(result(name, peer.title, outcome))
    if what.peer:
        found.notes.append(NO_RESUME)
    for each in found.results:
        found.warnings += warnings(each)
    found.cut = stop.pressed
    return found
