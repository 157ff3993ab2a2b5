"""The conformance suite of agents: what every agent that asks a model owes to who presses Stop, as pytest tests.

An agent's test file says how it is made and what stands behind it; needs pytest:

    class TestMine(AgentSuite):
        @asynccontextmanager
        async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
            async with MyProvider() as provider:
                yield Subject(MyAgent(base_url=provider.url, tools=tools), provider)

Each sweep stops the agent before each step of the event loop, from its call to its own end, and looks whether the run
ended as interrupted, whether the provider's connection is closed, whether a task is left, whether the receipt tells the
truth, and whether the conversation goes on with a history that the backend accepts.

The one rule: it asks only for what README.md promises its users, through the public face of a session.
"""
# ruff: noqa: S101, PLR2004 - pytest's assertions are assert statements, and a number in one is the expected value itself

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
from msgspec import Struct

from ..events import ENDINGS, Done, Error, Event, Fate, Interrupted, Settled, ToolResult, ToolRun, ToolStart
from ..fold import runs
from ..session import Session
from ..sessions import Sessions
from ..settings import Settings, Timeouts
from ..tools import Tool, tool
from ..turn import Agent
from .invariants import check_log
from .steps import SteppedLoop

T = TypeVar("T")

MOST = 2000
"""Steps that an answer of the suite's can take."""
WHOLE = 3
"""So many times in a row it has to end by itself: the kernel's part in a step differs from time to time."""
SETTINGS = Settings(timeouts=Timeouts(grace=1.0, reply=30.0))
PIECES = ("Stop ", "means ", "stopped.")
NASTY = ("caf", "é ", "\U0001f469", "\u200d\U0001f680", " 漢", "字 ", "\u2028", "</x> ", "\x7f", "end")
"""Pieces that cut what a person sees as one letter, and characters that careless code mangles."""


class Backend(Protocol):
    """What stands behind the agent: a provider on this machine, a fake model, a graph. It plays what it was told, in
    order, one entry for each request; where nothing is left, an unexpected request is an error.
    """

    def say(self, *pieces: str, bytewise: bool = False) -> None:
        """Answer the next request with this text, in these pieces. bytewise: where there is a wire, byte by byte."""
        ...

    def call(self, *calls: tuple[str, Mapping[str, Any]]) -> None:
        """Answer the next request with calls of these tools, made in one step: name and input of each."""
        ...

    def fail(self, *pieces: str) -> None:
        """Fail the next request behind these pieces; without any, before the answer begins."""
        ...

    def hang(self, *pieces: str) -> None:
        """Say these pieces on the next request, then nothing, for ever."""
        ...

    def forget(self) -> None:
        """Forget what has not been played."""
        ...

    @property
    def open(self) -> int:
        """Requests that are not over, as the backend sees it."""
        ...

    def heard(self) -> str:
        """All text of the last request, the conversation included. Raises where any request broke a rule of the
        provider's.
        """
        ...


class Subject(Struct, frozen=True):
    """An agent under test."""

    agent: Agent
    backend: Backend


class Bench:
    """One subject, its sessions, and what the suite's tools know of themselves."""

    def __init__(self, subject: Subject, sessions: Sessions, hands: "Hands") -> None:
        self.backend = subject.backend
        self.hands = hands
        self._sessions = sessions
        self.begin()

    def begin(self) -> None:
        """What is there now may stay."""
        self._tasks = asyncio.all_tasks()

    async def session(self) -> Session:
        """A new conversation."""
        session, _ = await self._sessions.create("me")
        return session

    async def ask(self, session: Session, message: str = "Go.") -> list[Event]:
        """Say something; the run's events, once it is settled."""
        run = session.take(message).run
        return await self.over(session, run)

    async def over(self, session: Session, run: str) -> list[Event]:
        """The events of `run`, once nothing is going and nothing is left behind."""
        while session.busy:
            await session.log.wait(session.log.tail)
        await becomes(
            lambda: not self.backend.open, lambda: f"expected a closed upstream, got {self.backend.open} open"
        )
        await becomes(lambda: not self.left(), lambda: f"expected no task to be left, got {self.left()}")
        check_log(session.log.read(0), over=True)
        return [event for event in session.log.read(0) if event.run == run]

    def left(self) -> set[str]:
        """Tasks that were not there in the beginning, by name; a warm connection's own may stay."""
        return {task.get_name() for task in asyncio.all_tasks() - self._tasks}


async def becomes(true: Callable[[], bool], what: Callable[[], str]) -> None:
    """Return when `true()`: what is closed is gone some steps later."""
    for _ in range(100):
        if true():
            return
        await asyncio.sleep(0)
    for _ in range(100):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what())


class Hands:
    """The suite's tools, and what really became of each call."""

    def __init__(self) -> None:
        self.began = 0
        self.ended = 0
        self.stopped = 0
        self.hold = False
        """Whether `work` waits for ever."""

    def tools(self) -> tuple[Tool, ...]:
        """Fresh tools that note here what they do."""

        @tool
        async def work(what: str) -> str:
            """Do some work.

            Args:
                what: Which work.
            """
            self.began += 1
            try:
                if self.hold:
                    await asyncio.Event().wait()
                for _ in range(5):  # so that a sweep finds it running
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.stopped += 1
                raise
            self.ended += 1
            return f"done: {what}"

        return (work,)


class AgentSuite:
    """Subclass it, give it `subject`, and name the class so that pytest finds it."""

    has_tools: ClassVar[bool] = True
    """Whether the agent takes the suite's tools."""
    keeps_history: ClassVar[bool] = True
    """Whether what the model is told comes from `turn.history`."""
    hears_ends: ClassVar[bool] = True
    """Whether the agent learns of a call's end in the step in which it comes. Else one that ended in the step of a Stop
    may be told as cancelled."""

    def subject(self, *tools: Tool) -> AbstractAsyncContextManager[Subject]:
        """The agent with these tools, made without retries of its own, and its backend."""
        raise NotImplementedError

    # What an answer is

    def test_text_comes_whole_and_in_order(self) -> None:
        async def main(bench: Bench) -> None:
            bench.backend.say(*PIECES)
            events = await bench.ask(await bench.session())
            assert text(events) == "".join(PIECES)
            assert isinstance(ending(events), Done)

        self._run(main)

    @pytest.mark.parametrize("bytewise", [False, True])
    def test_characters_survive_wherever_they_are_cut(self, *, bytewise: bool) -> None:
        async def main(bench: Bench) -> None:
            bench.backend.say(*NASTY, bytewise=bytewise)
            assert text(await bench.ask(await bench.session())) == "".join(NASTY)

        self._run(main)

    def test_an_empty_answer_is_an_answer(self) -> None:
        async def main(bench: Bench) -> None:
            session = await bench.session()
            bench.backend.say()
            events = await bench.ask(session)
            assert (text(events), type(ending(events))) == ("", Done)
            await self._goes_on(bench, session)

        self._run(main)

    # What a failure is

    @pytest.mark.parametrize("pieces", [(), PIECES[:1], PIECES], ids=["before", "in the middle", "at the end"])
    def test_a_failure_is_an_error_that_keeps_the_text(self, pieces: tuple[str, ...]) -> None:
        async def main(bench: Bench) -> None:
            session = await bench.session()
            bench.backend.fail(*pieces)
            events = await bench.ask(session)
            failed = ending(events)
            assert isinstance(failed, Error)
            assert failed.code in ("provider_error", "provider_timeout", "agent_error")
            assert text(events) == "".join(pieces)
            await self._goes_on(bench, session, "".join(pieces))

        self._run(main)

    def test_two_conversations_at_once_do_not_mix(self) -> None:
        async def main(bench: Bench) -> None:
            one, two = await bench.session(), await bench.session()
            bench.backend.hang("one")
            first = one.take("Go.").run
            await one.log.wait(2)
            bench.backend.say("two")
            assert text(await asyncio.wait_for(self._alone(two, "Go."), 10)) == "two"
            one.interrupt()
            assert text(await bench.over(one, first)) == "one"

        self._run(main)

    # What a Stop is

    @pytest.mark.parametrize("pieces", [(), PIECES[:1]], ids=["before the answer", "in the middle"])
    def test_a_stop_ends_a_provider_that_hangs(self, pieces: tuple[str, ...]) -> None:
        async def main(bench: Bench) -> None:
            session = await bench.session()
            bench.backend.hang(*pieces)
            run = session.take("Go.").run
            await becomes(lambda: bench.backend.open > 0, lambda: "expected a request, got none")
            while text(session.log.read(0)) != "".join(pieces):
                await session.log.wait(session.log.tail)
            session.interrupt()
            events = await bench.over(session, run)
            self._check(events, stopped=True)
            await self._goes_on(bench, session, "".join(pieces))

        self._run(main)

    def test_a_stop_at_every_step_of_an_answer(self) -> None:
        def play(backend: Backend) -> None:
            backend.say(*PIECES)

        self._run(lambda bench: self._sweep(bench, play))

    def test_a_stop_at_every_step_of_the_first_answer(self) -> None:
        """With all that is made on first use: connections, threads, clients."""

        async def case(k: int) -> bool:
            async with self._opened() as bench:
                bench.backend.say(*PIECES)
                return await self._case(bench, k, Done)

        async def main() -> None:
            await swept(type(self).__name__, case)

        self._run_on_steps(main)

    def test_a_stop_at_every_step_of_a_failure(self) -> None:
        def play(backend: Backend) -> None:
            backend.fail(*PIECES[:1])

        self._run(lambda bench: self._sweep(bench, play, alone=Error))

    def test_a_stop_at_every_step_of_tools_that_run_at_once(self) -> None:
        self._needs_tools()

        def play(backend: Backend) -> None:
            backend.call(("work", {"what": "a"}), ("work", {"what": "b"}))
            backend.say(*PIECES)

        self._run(lambda bench: self._sweep(bench, play))

    def test_tools_run_and_the_model_is_told(self) -> None:
        self._needs_tools()

        async def main(bench: Bench) -> None:
            session = await bench.session()
            bench.backend.call(("work", {"what": "a"}), ("work", {"what": "b"}))
            bench.backend.say("Both done.")
            events = await bench.ask(session)
            assert [event.output for event in events if isinstance(event, ToolResult)] == ["done: a", "done: b"]
            assert (text(events), bench.hands.ended) == ("Both done.", 2)
            heard = bench.backend.heard()
            assert "done: a" in heard
            assert "done: b" in heard
            await self._goes_on(bench, session, "Both done.", "done: b")

        self._run(main)

    def test_a_stop_inside_a_tool_ends_the_tool_and_the_model_is_told_the_truth(self) -> None:
        self._needs_tools()

        async def main(bench: Bench) -> None:
            session = await bench.session()
            bench.hands.hold = True
            bench.backend.call(("work", {"what": "a"}))
            run = session.take("Go.").run
            await becomes(lambda: bench.hands.began > 0, lambda: "expected a call, got none")
            session.interrupt()
            events = await bench.over(session, run)
            self._check(events, stopped=True)
            assert list(receipt(events).tools.values()) == ["cancelled"]
            assert bench.hands.stopped == 1
            await self._goes_on(bench, session, "interrupted while running")

        self._run(main)

    # Inside

    def _needs_tools(self) -> None:
        if not self.has_tools:
            pytest.skip("this agent takes no tools")

    async def _alone(self, session: Session, message: str) -> list[Event]:
        """As `Bench.ask`, where others are going."""
        run = session.take(message).run
        while session.busy:
            await session.log.wait(session.log.tail)
        return [event for event in session.log.read(0) if event.run == run]

    async def _goes_on(self, bench: Bench, session: Session, *kept: str) -> None:
        """The conversation goes on; with a history of the gateway's, the model is told all that was kept."""
        bench.backend.forget()
        bench.backend.say("Yes.")
        events = await bench.ask(session, "And now?")
        assert text(events) == "Yes.", f"expected the session to go on, got {ending(events)}"
        heard = bench.backend.heard()
        if self.keeps_history:
            missing = [words for words in ("Go.", "And now?", *kept) if words.strip() and words.strip() not in heard]
            assert not missing, f"expected the model to be told {missing}, got {heard}"

    async def _sweep(self, bench: Bench, play: Callable[[Backend], None], *, alone: type[Done | Error] = Done) -> None:
        """Stop it at each step."""

        async def case(k: int) -> bool:
            bench.backend.forget()
            play(bench.backend)
            return await self._case(bench, k, alone)

        await swept(type(self).__name__, case)

    async def _case(self, bench: Bench, k: int, alone: type[Done | Error]) -> bool:
        """Stop a new conversation's answer after `k` steps. True: it came to its own end before that."""
        steps, hands = stepped().steps, bench.hands
        hands.began = hands.ended = hands.stopped = 0
        session = await bench.session()
        run = session.take("Go.").run
        steps.arm(k, session.interrupt)
        events = await bench.over(session, run)
        by_itself = not steps.disarm()
        if by_itself:
            assert isinstance(ending(events), alone), f"expected {alone}, got {ending(events)}"
        else:
            self._check(events, stopped=True, or_else=alone)
        self._check_calls(events, hands)
        await self._goes_on(bench, session, text(events))
        return by_itself

    def _check(self, events: list[Event], *, stopped: bool, or_else: type[Done | Error] | None = None) -> None:
        """One ending, and a receipt that tells the truth."""
        last = ending(events)
        assert isinstance(last, Interrupted) is stopped or (or_else and isinstance(last, or_else)), f"got {last}"
        told = receipt(events)
        assert told.task in ("cancelled", "finished"), f"expected a task that is gone, got {told}"
        assert told.upstream_closed is not False, f"expected a closed upstream, got {told}"
        assert told.stop_ms < 900, f"expected one cancellation to be enough, got {told}"
        assert told.chars == len(text(events))

    def _check_calls(self, events: list[Event], hands: Hands) -> None:
        """What the receipt says of the calls is what the tools know of themselves."""
        fates = list(receipt(events).tools.values())
        began = sum(isinstance(e, ToolRun) or (isinstance(e, ToolStart) and not e.waits) for e in events)
        done: list[Fate] = ["finished", "finished_after_stop"]
        told = sum(fate in done for fate in fates)
        right = told == hands.ended if self.hears_ends else told <= hands.ended
        assert right, f"expected the truth, {vars(hands)}, got {fates}"
        assert hands.began <= began, f"expected to see what runs: {hands.began} calls ran, {began} were shown"

    def _run(self, main: Callable[[Bench], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with self._opened() as bench:
                # Once before all: what is made on the first use, a client or a thread, is no run's to give back.
                bench.backend.say("Warm.")
                await self._alone(await bench.session(), "Hello.")
                bench.begin()
                await main(bench)

        self._run_on_steps(whole)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Bench]:
        hands = Hands()
        async with (
            self.subject(*(hands.tools() if self.has_tools else ())) as subject,
            Sessions(subject.agent, SETTINGS) as sessions,
        ):
            yield Bench(subject, sessions, hands)

    def _run_on_steps(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        complaints: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            await main()

        with asyncio.Runner(loop_factory=SteppedLoop) as runner:
            runner.run(watched())
        assert not complaints, f"expected no complaint of the event loop's, got {complaints}"


async def swept(name: str, case: Callable[[int], Awaitable[bool]]) -> None:
    """Run a case for each step, until it comes to its own end before that."""
    whole = k = 0
    while whole < WHOLE:
        assert k < MOST, f"expected an end within {MOST} steps"
        whole = whole + 1 if await case(k) else 0
        k += 1
    print(f"{name}: stopped at each of {k - WHOLE} steps")  # noqa: T201 - the sweep's size is its worth


def stepped() -> SteppedLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    return loop


def text(events: list[Event]) -> str:
    """What the run says, without what was taken back."""
    return "".join(view.text() for view in runs(events))


def ending(events: list[Event]) -> Event:
    """The one ending."""
    [found] = [event for event in events if isinstance(event, ENDINGS)]
    return found


def receipt(events: list[Event]) -> Settled:
    """The receipt."""
    last = events[-1]
    assert isinstance(last, Settled), f"expected a receipt, got {last}"
    return last
