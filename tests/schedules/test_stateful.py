"""The same world as in the proof `schedules`, driven by Hypothesis: what fails is shrunk to the shortest
schedule that does.

The schedules are the same each time. Others, and more: `EXAMPLES=2000 pytest tests/schedules/test_stateful.py`.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
from chaos import STEPS, Tab, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from loop import VirtualLoop
from proofs.runner import said

from agent_ws.settings import WhenBusy
from agent_ws.streams import ChunkMode

pytestmark = pytest.mark.timeout(600)  # to shrink a failure takes minutes; without one it is over in seconds

EXAMPLES = os.environ.get("EXAMPLES")

facts: Counter[str] = Counter()

tabs = st.integers(0, 2)
quick = st.booleans()
"""Whether the next step comes at once, so that the two cross."""
scripts = st.text(STEPS, min_size=1, max_size=5) | st.text("gtw", min_size=2, max_size=6)
long = st.sampled_from(("tW", "tkW", "sW", "Vt", "aW", "CW", "tqt"))
"""Answers that go on while the schedule does."""
policies: st.SearchStrategy[WhenBusy | None] = st.sampled_from((None, "interrupt", "queue", "steer", "reject"))
chunks: st.SearchStrategy[ChunkMode] = st.sampled_from(("token", "word", "sentence"))
which = st.integers(0, 5)
"""One of the runs, messages or requests, counted from the last."""
seens = st.none() | st.integers(0, 40)


def pick(items: list[str], n: int) -> str:
    return items[-1 - n % len(items)]


class Schedule(RuleBasedStateMachine):
    """Each rule is one verb of the world, on a loop that runs only inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.world: World | None = None

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.do(self.world.finish())
        finally:
            self.runner.close()

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.get_loop().run_until_complete(work)

    def step(self, work: Coroutine[Any, Any, None], *, quick: bool) -> None:
        facts["steps"] += 1
        self.do(work)
        if not quick:
            self.do(self.at.settle())

    @property
    def at(self) -> World:
        assert self.world is not None
        return self.world

    def tab(self, tab: int) -> Tab:
        return self.at.tabs[tab]

    @initialize(seed=st.none() | st.integers(0, 99), seconds=st.sampled_from((0, 0.05, 2)))
    def begin(self, seed: int | None, seconds: float) -> None:
        self.runner.close()
        self.runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(seed))

        async def make() -> None:
            self.world = await World.make(tabs=3, seconds=seconds, facts=facts)
            await self.world.connect(self.world.tabs[0])

        self.step(make(), quick=False)

    @rule(tab=tabs, chunk=chunks, when_busy=policies, binary=st.booleans(), quick=quick)
    def connect(self, tab: int, chunk: ChunkMode, when_busy: WhenBusy | None, *, binary: bool, quick: bool) -> None:
        self.step(self.at.connect(self.tab(tab), chunk, when_busy, binary=binary), quick=quick)

    @rule(tab=tabs, forget=st.booleans(), quick=quick)
    def drop(self, tab: int, *, forget: bool, quick: bool) -> None:
        async def drop() -> None:
            self.at.forget(self.tab(tab)) if forget else self.tab(tab).leave()

        self.step(drop(), quick=quick)

    @rule(tab=tabs, data=long, quick=quick)
    def say_much(self, tab: int, data: str, *, quick: bool) -> None:
        self.step(self.at.say(self.tab(tab), data, "queue"), quick=quick)

    @rule(tab=tabs, data=scripts, when_busy=policies, quick=quick)
    def say(self, tab: int, data: str, when_busy: WhenBusy | None, *, quick: bool) -> None:
        self.step(self.at.say(self.tab(tab), data, when_busy), quick=quick)

    @precondition(lambda self: self.at.said)
    @rule(tab=tabs, data=scripts, when_busy=policies, n=which, quick=quick)
    def say_again(self, tab: int, data: str, when_busy: WhenBusy | None, n: int, *, quick: bool) -> None:
        self.step(self.at.say(self.tab(tab), data, when_busy, pick(self.at.said, n)), quick=quick)

    @rule(tab=tabs, seen=seens, quick=quick)
    def interrupt(self, tab: int, seen: int | None, *, quick: bool) -> None:
        self.step(self.at.interrupt(self.tab(tab), seen=seen, quick=quick), quick=quick)

    @precondition(lambda self: self.at.runs())
    @rule(tab=tabs, n=which, seen=seens, quick=quick)
    def interrupt_run(self, tab: int, n: int, seen: int | None, *, quick: bool) -> None:
        self.step(self.at.interrupt(self.tab(tab), pick(self.at.runs(), n), seen, quick=quick), quick=quick)

    @precondition(lambda self: self.at.going() and len(self.at.runs()) > len(self.at.open_runs()))
    @rule(tab=tabs, n=which, seen=seens, quick=quick)
    def interrupt_too_late(self, tab: int, n: int, seen: int | None, *, quick: bool) -> None:
        ended = [run for run in self.at.runs() if run not in self.at.open_runs()]
        self.step(self.at.interrupt(self.tab(tab), pick(ended, n), seen, quick=quick), quick=quick)

    @rule(tab=tabs, n=which, section=st.booleans(), quick=quick)
    def interrupt_part(self, tab: int, n: int, *, section: bool, quick: bool) -> None:
        stop = self.at.interrupt_section if section else self.at.interrupt_agent
        self.step(stop(self.tab(tab), f"{'s' if section else 'x'}{n}"), quick=quick)

    @rule(tab=tabs, n=st.none() | which, quick=quick)
    def pause(self, tab: int, n: int | None, *, quick: bool) -> None:
        runs = self.at.runs()
        run = pick(runs, n) if n is not None and runs else None
        self.step(self.at.pause(self.tab(tab), run, quick=quick), quick=quick)

    @rule(tab=tabs, quick=quick)
    def resume(self, tab: int, *, quick: bool) -> None:
        self.step(self.at.resume(self.tab(tab)), quick=quick)

    @rule(tab=tabs, on=st.booleans(), quick=quick)
    def read(self, tab: int, *, on: bool, quick: bool) -> None:
        async def read() -> None:
            self.at.read(self.tab(tab), on=on)

        self.step(read(), quick=quick)

    @precondition(lambda self: self.at.requests())
    @rule(tab=tabs, n=which, quick=quick)
    def reply(self, tab: int, n: int, *, quick: bool) -> None:
        self.step(self.at.reply(self.tab(tab), pick(self.at.requests(), n), "yes"), quick=quick)

    @rule(what=st.sampled_from(("crash", "crash, but the last save landed", "restart", "drain", "disk")))
    def trouble(self, what: str) -> None:
        """One rule, so that most steps are no trouble."""
        world = self.at
        match what:
            case "restart":
                self.step(world.restart(), quick=False)
            case "drain":
                self.step(world.drain(), quick=True)
            case "disk":
                world.disk.failing = not world.disk.failing
            case _:
                self.step(world.crash(landed="landed" in what), quick=False)

    @rule(seconds=st.sampled_from((0.05, 0.3, 1.1, 3.0, 12.0, 70.0, 400.0)))
    def pass_time(self, seconds: float) -> None:
        self.step(self.at.pass_time(seconds), quick=False)


class TestSchedule(Schedule.TestCase):
    @pytest.fixture(autouse=True)
    def _say_what_happened(self, record_property: Callable[[str, object], None]) -> Generator[None]:
        yield
        record_property("facts", said(facts))


TestSchedule.settings = settings(
    derandomize=EXAMPLES is None,
    database=None,
    max_examples=int(EXAMPLES or "600"),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),  # the budget is the examples
)
