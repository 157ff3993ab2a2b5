"""Sections that fill in: in order or several at once, skipped and written again at any moment."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from helpers import hello, of, serving
from steps import SteppedVirtualLoop

from agent_ws.agents.scripted import Gate
from agent_ws.errors import AgentError
from agent_ws.events import Content, Done, Error, Event, Interrupted, Outline, SectionEnd, SectionStart, Settled, Status
from agent_ws.fold import merge, runs
from agent_ws.history import history
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.testing.client import connect
from agent_ws.testing.invariants import check_log
from agent_ws.turn import Agent, Turn, TurnSection

virtual = pytest.mark.virtual


async def write(section: TurnSection) -> None:
    """Says its name and how often it was begun, word by word, a second each."""
    for word in (section.section, str(section.attempt), "."):
        section.content(word)
        await asyncio.sleep(1)


def three(at_once: int = 1, **writers: Any) -> Callable[[Turn], Coroutine[Any, Any, None]]:
    """An agent with the sections a, b and c, which take three seconds each."""

    async def agent(turn: Turn) -> None:
        parts = {name: (name.upper(), writers.get(name, write)) for name in "abc"}
        await turn.sections(at_once=at_once, **parts)
        turn.content("!")

    return agent


@asynccontextmanager
async def going(agent: Agent) -> AsyncGenerator[Session]:
    """A session whose run has begun."""
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await asyncio.sleep(0.5)
        yield session


async def end(session: Session) -> list[Event]:
    """Everything, once it is over."""
    while session.busy:
        await session.log.wait(session.log.tail)
    events = session.log.read(0)
    check_log(events, over=True)
    return events


def told(events: list[Event]) -> list[str]:
    """What there is to see, in one line each."""
    lines: list[str] = []
    for event in merge(events):
        match event:
            case Outline(sections=sections):
                lines.append("outline " + " ".join(f"{s.section}={s.title}" for s in sections))
            case SectionStart(section=section, title=title, redo=redo):
                lines.append(f"start {section} {title} {redo}")
            case Content(data=data, section=section):
                lines.append(f"{section or '-'}: {data}")
            case SectionEnd(section=section, outcome=outcome):
                lines.append(f"end {section} {outcome}")
            case _:
                pass
    return lines


def text(events: list[Event]) -> str:
    return runs(events)[0].text()


@virtual
async def test_an_outline_comes_first_and_the_sections_fill_in_in_order() -> None:
    loop = asyncio.get_running_loop()
    async with going(three()) as session:
        events = await end(session)
        assert loop.time() == 9
    assert told(events) == [
        "outline a=A b=B c=C",
        *("start a A True", "a: a1.", "end a done"),
        *("start b B True", "b: b1.", "end b done"),
        *("start c C True", "c: c1.", "end c done"),
        "-: !",
    ]
    assert isinstance(events[-2], Done)


@virtual
@pytest.mark.parametrize(("at_once", "seconds"), [(2, 6), (3, 3), (9, 3)])
async def test_several_are_written_at_once(at_once: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    async with going(three(at_once)) as session:
        assert len(session.going.writer.brackets.sections) == min(at_once, 3) if session.going else False
        events = await end(session)
        assert loop.time() == seconds
    assert told(events)[0] == "outline a=A b=B c=C"
    assert sorted(text(events)) == sorted("a1.b1.c1.!")


@virtual
@pytest.mark.parametrize("at_once", [1, 2])
async def test_one_that_has_not_begun_is_skipped_at_once(at_once: int) -> None:
    async with going(three(at_once)) as session:
        before = session.log.tail
        assert session.stop_part("section", "c")
        assert told(session.log.read(before)) == ["start c C True", "end c skipped"], "in the same step"
        assert not session.stop_part("section", "c"), "it has its end"
        events = await end(session)
    assert sorted(text(events)) == sorted("a1.b1.!")


@virtual
async def test_one_that_is_open_is_skipped_and_the_next_begins() -> None:
    loop = asyncio.get_running_loop()
    async with going(three()) as session:
        assert session.stop_part("section", "a")
        assert told(session.log.read(0))[-1] == "end a skipped"
        events = await end(session)
        assert loop.time() == 6.5
    assert text(events) == "ab1.c1.!", "what was there stays"


@virtual
async def test_one_that_is_open_is_written_again() -> None:
    async with going(three()) as session:
        await asyncio.sleep(1)
        assert session.stop_part("section", "a", redo=True)
        assert told(session.log.read(0))[-2:] == ["a: a1", "end a interrupted"], "at once"
        assert not session.stop_part("section", "a", redo=True), "it is going to be"
        events = await end(session)
    assert told(events)[3:6] == ["end a interrupted", "start a A True", "a: a2."]
    assert text(events) == "a2.b1.c1.!"
    assert cast("Settled", events[-1]).chars == len("a2.b1.c1.!")


@virtual
@pytest.mark.parametrize("at_once", [1, 2])
async def test_one_that_is_done_is_written_again_while_the_rest_goes_on(at_once: int) -> None:
    async with going(three(at_once)) as session:
        await asyncio.sleep(3)
        assert session.stop_part("section", "a", redo=True)
        events = await end(session)
    assert sorted(text(events)) == sorted("a2.b1.c1.!")
    assert told(events).index("start c C True") < told(events).index("-: !")
    (_, answer) = history(events)
    assert "a2." in answer.text
    assert "a1" not in answer.text


@virtual
async def test_the_one_that_is_wanted_again_is_the_next() -> None:
    async with going(three()) as session:
        await asyncio.sleep(3)
        assert session.stop_part("section", "a", redo=True)
        events = await end(session)
    starts = [line.split()[1] for line in told(events) if line.startswith("start")]
    assert starts == ["a", "b", "a", "c"]


@virtual
async def test_a_place_that_is_free_takes_it_at_once() -> None:
    """With three at once and nothing left to begin, who wants one again needs not wait for the others."""

    async def slow(section: TurnSection) -> None:
        await asyncio.sleep(20)
        section.content("c")

    loop = asyncio.get_running_loop()
    async with going(three(3, c=slow)) as session:
        await asyncio.sleep(5)
        assert session.stop_part("section", "a", redo=True)
        await asyncio.sleep(0.001)
        assert told(session.log.read(0))[-2:] == ["start a A True", "a: a"]
        events = await end(session)
        assert loop.time() == 20
    assert sorted(text(events)) == sorted("a2.b1.c!")


@virtual
async def test_one_that_was_skipped_can_be_written_after_all() -> None:
    async with going(three()) as session:
        session.stop_part("section", "c")
        session.stop_part("section", "a")
        assert session.stop_part("section", "c", redo=True)
        assert session.stop_part("section", "a", redo=True)
        events = await end(session)
    assert sorted(text(events)) == sorted("a2.b1.c1.!")


@virtual
async def test_one_that_waits_to_be_written_again_is_skipped_with_what_it_had() -> None:
    async with going(three()) as session:
        await asyncio.sleep(3)
        assert session.stop_part("section", "a", redo=True)
        assert session.stop_part("section", "a")
        assert told(session.log.read(0))[-2:] == ["start a A True", "end a skipped"]
        events = await end(session)
    assert text(events) == "b1.c1.!"


@virtual
async def test_what_can_not_be_written_again_is_told() -> None:
    async with going(three()) as session:
        assert not session.stop_part("section", "c", redo=True), "it is going to be written anyway"
        assert not session.stop_part("section", "z", redo=True)
        assert not session.stop_part("agent", "a", redo=True)
        events = await end(session)
        assert not session.stop_part("section", "a", redo=True)
        assert session.log.read(0) == events


@virtual
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("late", ["swallow", "thread"])
async def test_an_old_attempt_writes_nothing_into_the_new_one(at_once: int, late: str) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def stubborn(section: TurnSection) -> None:
        async def beside() -> None:
            for _ in range(8):
                await asyncio.sleep(1)
                section.content("LATE")
                section.thinking("LATE")
                section.write(Status("working", "LATE"))

        section.content(str(section.attempt))
        if section.attempt > 1:
            await asyncio.sleep(3)
        elif late == "thread":  # work that nothing of the run can cancel
            tasks.append(asyncio.create_task(beside()))
            await asyncio.sleep(9)
        else:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(9)
            section.content("LATE")
            section.thinking("LATE")

    async with going(three(at_once, a=stubborn)) as session:
        assert session.stop_part("section", "a", redo=True)
        events = await end(session)
    await asyncio.gather(*tasks)
    assert runs(events)[0].text().startswith("2") or at_once > 1
    assert not any("LATE" in str(event) for event in events)


@virtual
@pytest.mark.parametrize("at_once", [1, 3])
async def test_one_that_fails_ends_them_all_with_its_own_error(at_once: int) -> None:
    async def fail(section: TurnSection) -> None:
        await asyncio.sleep(1)
        section.content("x")
        raise AgentError("The source is gone.")

    async with going(three(at_once, b=fail)) as session:
        events = await end(session)
    ending = cast("Error", events[-2])
    assert (ending.code, ending.message) == ("agent_error", "The source is gone.")
    ends = [event.outcome for event in events if isinstance(event, SectionEnd)]
    assert ends == (["done", "interrupted"] if at_once == 1 else ["interrupted"] * 3)


@virtual
@pytest.mark.parametrize("at_once", [1, 3])
async def test_an_agent_copes_with_a_failure_and_may_write_them_all_again(at_once: int) -> None:
    async def fail(section: TurnSection) -> None:
        section.content("x")
        await asyncio.sleep(1)
        raise AgentError("The source is gone.")

    async def agent(turn: Turn) -> None:
        with suppress(AgentError):
            await three(at_once, a=fail)(turn)
        turn.content("Once more. ")
        await three(at_once)(turn)
        await asyncio.sleep(5)

    async with going(agent) as session:
        await asyncio.sleep(10)
        assert not session.stop_part("section", "a", redo=True), "they are over"
        events = await end(session)
    lines = told(events)
    again = lines.index("-: Once more. ")
    assert "end a interrupted" in lines[:again]
    assert len([line for line in lines[:again] if line.startswith("end")]) == at_once
    assert sorted(text(events)) == sorted("Once more. a1.b1.c1.!")


@virtual
async def test_a_generator_or_a_text_writes_a_section_too() -> None:
    closed: list[int] = []

    async def generator(section: TurnSection) -> AsyncGenerator[str | Status]:
        try:
            yield "gen"
            yield Status("working", "x")
            await asyncio.sleep(5)
            yield "erated"
        finally:
            closed.append(section.attempt)

    async def whole(_: TurnSection) -> str:
        return "whole"

    async with going(three(a=generator, b=whole)) as session:
        session.stop_part("section", "a", redo=True)
        events = await end(session)
    assert text(events) == "generatedwholec1.!"
    assert closed == [1, 2]


@virtual
async def test_one_of_several_agents_has_sections_of_its_own() -> None:
    async def agent(turn: Turn) -> None:
        await turn.together(left=three(2), right=other)

    async def other(turn: Turn) -> None:
        await asyncio.sleep(20)
        turn.content("right")

    async with going(agent) as session:
        assert session.stop_part("section", "a", redo=True)
        assert session.stop_part("section", "c")
        await asyncio.sleep(1)
        assert session.stop_part("agent", "left")
        assert not session.stop_part("section", "b")
        assert not session.stop_part("section", "b", redo=True)
        events = await end(session)
    assert text(events).endswith("right")
    assert all(event.agent == "left" for event in events if isinstance(event, SectionStart | SectionEnd | Outline))


@virtual
async def test_one_id_twice_and_a_bad_one_are_refused() -> None:
    async def twice(turn: Turn) -> None:
        async with turn.section("a"):
            await turn.sections(a=("A", write))

    async def long(turn: Turn) -> None:
        parts: dict[str, Any] = {"x" * 65: ("A", write)}
        await turn.sections(**parts)

    for agent, why in ((twice, "one section 'a'"), (long, "65")):
        async with going(agent) as session:
            ending = cast("Error", (await end(session))[-2])
        assert ending.code == "bad_event"
        assert why in ending.message


@virtual
async def test_clients_ask_for_it_on_every_wire() -> None:
    gate = Gate()

    async def agent(turn: Turn) -> None:
        async def first(section: TurnSection) -> None:
            section.content(f"attempt {section.attempt}")
            await asyncio.sleep(1)

        async def second(_: TurnSection) -> None:
            await gate.wait()

        await turn.sections(a=("A", first), b=("B", second))

    async with serving(agent) as app, connect(app) as client:
        await hello(client)
        await client.send({"message": "hi"})
        start = await client.until("section_start")
        assert start["redo"] is True
        while not [frame for frame in of(client, "section_start") if frame["section"] == "b"]:
            await client.receive()
        await client.send({"type": "interrupt", "section": "a", "redo": True})
        gate.set()
        await client.until("done")
        assert [frame["data"] for frame in of(client, "content")] == ["attempt 1", "attempt 2"]


DOINGS: dict[str, Callable[[Session], object]] = {
    "stop": lambda session: session.interrupt(),
    "skip b": lambda session: session.stop_part("section", "b"),
    "redo a": lambda session: session.stop_part("section", "a", redo=True),
    "redo b": lambda session: session.stop_part("section", "b", redo=True),
    "redo a, skip a": lambda session: [session.stop_part("section", "a", redo=redo) for redo in (True, False)],
    "skip a, redo a": lambda session: [session.stop_part("section", "a", redo=redo) for redo in (False, True)],
}


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("doing", DOINGS)
def test_at_any_step(doing: str, at_once: int, record_property: Callable[[str, object], None]) -> None:
    """Swept: it is done once at each step of the event loop. The log stays lawful, the run comes to its end, nothing
    of what was stopped is shown later, and no task is left.
    """

    async def tidy(section: TurnSection) -> AsyncGenerator[str]:
        try:
            yield f"{section.section}{section.attempt}"
            await asyncio.sleep(0.01)
            yield ","
            await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            section.content(" late" if section.over else "")

    async def done_at(loop: SteppedVirtualLoop, step: int) -> bool:
        async with Sessions(three(at_once, a=tidy, b=tidy, c=tidy), Settings()) as sessions:
            session, _ = await sessions.create("me")
            before = asyncio.all_tasks()
            loop.steps.arm(step, lambda: DOINGS[doing](session))
            await session.say("hi")
            events = await end(session)
            assert asyncio.all_tasks() <= before
            if isinstance(events[-2], Interrupted):
                assert doing == "stop"
                return loop.steps.disarm()
            outcomes = {event.section: event.outcome for event in events if isinstance(event, SectionEnd)}
            assert set(outcomes) == set("abc")
            for name, outcome in outcomes.items():
                pieces = runs(events)[0].pieces()
                shown = "".join(data for event, data in pieces if isinstance(event, Content) and event.section == name)
                if outcome == "done":
                    assert shown in (f"{name}1,", f"{name}2,"), "one attempt, and whole"
                else:
                    assert outcome == "skipped"
            assert isinstance(events[-2], Done)
            return loop.steps.disarm()

    steps = 0
    with asyncio.Runner(loop_factory=SteppedVirtualLoop) as runner:
        while runner.run(done_at(cast("SteppedVirtualLoop", runner.get_loop()), steps)):
            steps += 1
            assert steps < 1000
    record_property("facts", f"{doing}, {at_once} at once: {steps} steps")
    assert steps > 10
