"""The demo agent, driven as a client drives it. Time is virtual, so it speaks at the pace that people see."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agent_ws.agents.demo import Demo
from agent_ws.agents.demo.agent import HELP, WHAT_I_AM
from agent_ws.agents.demo.documents import Documents
from agent_ws.agents.demo.showcase import SHOWCASES
from agent_ws.brackets import Brackets
from agent_ws.events import (
    ENDINGS,
    Content,
    Done,
    Error,
    Event,
    Interrupted,
    Outline,
    Request,
    Resolved,
    SectionEnd,
    Settled,
    Start,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    ToolStart,
    User,
)
from agent_ws.fold import merge, runs
from agent_ws.history import Message, Text, ToolOutput, ToolUse, history
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.streams import boundary

pytestmark = pytest.mark.virtual

DOCUMENTS = Documents()


@pytest.fixture(autouse=True, scope="module")
def index() -> None:
    DOCUMENTS.load()  # a virtual loop waits for no thread


@asynccontextmanager
async def started(agent: Demo | None = None) -> AsyncGenerator[Session]:
    async with Sessions(agent or Demo(documents=DOCUMENTS), Settings()) as sessions:
        yield (await sessions.create("me"))[0]


async def settled(session: Session) -> None:
    while session.busy:
        await session.log.wait(session.log.tail)


async def ask(session: Session, message: str, reply: Any = None) -> list[Event]:
    """Say it, give `reply` to what the agent asks, and return the run's events."""
    with session.view():
        run = (await session.say(message)).run
        while session.busy:
            if reply is not None and session.going is not None and session.going.requests:
                session.reply(next(iter(session.going.requests)), reply)
            await session.log.wait(session.log.tail)
    return [event for event in session.log.read(0) if event.run == run]


async def stopped(session: Session, message: str, seen: int) -> str:
    """Say it, and stop the answer when there are so many characters of it. Returns the run."""
    with session.view():
        run = (await session.say(message)).run
        while len(runs(session.log.read(0))[-1].text()) < seen:
            await session.log.wait(session.log.tail)
        session.interrupt(seen=seen)
    return run


async def go_on(session: Session, run: str) -> None:
    with session.view():
        await session.say("", continues=run)
        await settled(session)


async def answer(session: Session, message: str) -> str:
    return runs(await ask(session, message))[0].text()


def of(kind: type[Any], events: Sequence[Event]) -> list[Any]:
    return [event for event in merge(events) if isinstance(event, kind)]


def check_law(events: Sequence[Event]) -> None:
    """A run is `User` .. `Start` .. one ending .. `Settled`, and every bracket in it is closed before the ending."""
    assert [type(event) for event in (*events[:2], events[-1])] == [User, Start, Settled]
    assert [isinstance(event, ENDINGS) for event in events].index(True) == len(events) - 2
    brackets = Brackets()
    for event in events:
        brackets.take(event)
    assert not {*brackets.sections, *brackets.tools, *brackets.requests}


def check_valid(past: tuple[Message, ...]) -> None:
    """A provider would take it: roles alternate, no text is blank, each call's output follows it at once."""
    assert [message.role for message in past] == ["user", "assistant"] * (len(past) // 2) + ["user"] * (len(past) % 2)
    for message, following in zip(past, (*past[1:], None), strict=True):
        assert message.parts
        assert all(part.text.strip() for part in message.parts if isinstance(part, Text))
        calls = [part.id for part in message.parts if isinstance(part, ToolUse)]
        outputs = [part.id for part in following.parts if isinstance(part, ToolOutput)] if following else []
        assert calls == outputs


# Answers


async def test_it_answers_from_the_documents_and_names_the_source() -> None:
    async with started() as session:
        said = await answer(session, "What are the close codes?")
    assert "**PROTOCOL.md › Close codes**" in said  # noqa: RUF001
    assert "| 4401 | unauthorized |" in said


async def test_it_says_plainly_when_nothing_fits() -> None:
    async with started() as session:
        assert "I found nothing about that in" in await answer(session, "who won the football cup in 1998")


async def test_it_says_what_it_is_in_the_first_answer_only_and_in_help() -> None:
    async with started() as session:
        first, second = await answer(session, "= 1 + 1"), await answer(session, "= 1 + 2")
        assert WHAT_I_AM in first
        assert second == "`1 + 2` is **3**."
        assert await answer(session, "help") == HELP
    async with started() as session:
        assert await answer(session, "Hello agent") == HELP


def test_help_lists_every_showcase_and_how_to_get_a_model() -> None:
    assert all(f"**demo {name}**" in HELP for name in SHOWCASES)
    assert "ANTHROPIC_API_KEY" in HELP
    assert "not a language model" in HELP


async def test_more_goes_on_where_the_last_answer_ended() -> None:
    async with started() as session:
        await ask(session, "hi")
        answers = [await answer(session, message) for message in ("interrupt a run", "more", "Again, please")]
    sources = [line for said in answers for line in said.splitlines() if line.startswith("**") and ".md" in line]
    assert len(sources) == len(set(sources)) == 6


async def test_more_without_a_question_says_so() -> None:
    async with started() as session:
        assert "nothing to go on with" in await answer(session, "more")
        await ask(session, "= 1 + 1")
        assert "nothing to go on with" in await answer(session, "more")


async def test_what_can_not_be_calculated_is_explained() -> None:
    async with started() as session:
        assert "divides by zero" in await answer(session, "1/0")
        assert "beyond the numbers" in await answer(session, "2**10**10")


async def test_without_documents_it_calculates_and_says_what_is_missing() -> None:
    documents = Documents([])
    documents.load()
    async with started(Demo(documents=documents)) as session:
        assert (await answer(session, "= 2 * 3")).startswith("`2 * 3` is **6**.")
        for message in ("close codes", "more", *(f"demo {name}" for name in SHOWCASES)):
            assert "documentation that I search is not installed" in await answer(session, message)


async def test_it_speaks_word_by_word_at_a_pleasant_pace() -> None:
    async with started() as session:
        run = await ask(session, "demo long")
    words = len(runs(run)[0].text().split())
    ending = run[-2]
    assert isinstance(ending, Done)
    settled = run[-1]
    assert isinstance(settled, Settled)
    assert settled.chunks == pytest.approx(words, rel=0.02)
    assert 1900 < words < 2600


@pytest.mark.parametrize(("pace", "seconds"), [(0.025, 55.0), (0.0, 0.0)])
async def test_the_pace_can_be_set(pace: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    async with started(Demo(pace, DOCUMENTS)) as session:
        began = loop.time()
        await ask(session, "demo long")
        assert loop.time() - began == pytest.approx(seconds, rel=0.2)


async def test_a_mistyped_showcase_is_told_which_there_are() -> None:
    async with started() as session:
        said = await answer(session, "demo stepz")
    assert all(name in said for name in ("stepz", *SHOWCASES))


# Showcases


@pytest.mark.parametrize("name", SHOWCASES)
async def test_a_showcase_leaves_a_lawful_log_and_a_valid_history(name: str) -> None:
    async with started() as session:
        run = await ask(session, f"demo {name}", reply="close codes")
        check_law(run)
        check_valid(history(run))
        assert isinstance(run[-2], Error if name == "error" else Done)


@pytest.mark.parametrize("moment", range(10))
@pytest.mark.parametrize("name", SHOWCASES)
async def test_an_interrupt_ends_a_showcase_at_once_at_any_moment(name: str, moment: int) -> None:
    loop = asyncio.get_running_loop()
    async with started() as session:
        began = loop.time()
        await ask(session, f"demo {name}")
        seconds = loop.time() - began
    async with started() as session:
        run = (await session.say(f"demo {name}")).run
        await asyncio.sleep(seconds * (moment + 0.5) / 10)
        assert session.interrupt() == [run]
        assert isinstance(session.log.read(0)[-1], Interrupted)
        await settled(session)
        events = session.log.read(0)
        check_law(events)
        check_valid(history(events))
        settlement = events[-1]
        assert isinstance(settlement, Settled)
        assert settlement.task == "cancelled"
        assert settlement.stop_ms == 0 or name == "tools", "one of its tools is let come to its end"
        assert "**2**" in await answer(session, "= 1 + 1")
        check_valid(history(session.log.read(0)))


async def test_steps_search_and_calculate_and_use_what_came_out() -> None:
    async with started() as session:
        run = await ask(session, "demo steps close codes")
    assert of(Thinking, run)
    found, counted = of(ToolResult, run)
    assert found.output == "PROTOCOL.md › Close codes"  # noqa: RUF001
    seconds = round(float(counted.output))
    assert f"takes about {seconds} seconds" in runs(run)[0].text()


async def test_outline_fills_its_sections_and_one_can_be_skipped() -> None:
    async with started() as session:
        await session.say("demo outline")
        while not (session.going and session.going.writer.brackets.sections):
            await session.log.wait(session.log.tail)
        assert session.stop_part("section", "s1")
        await settled(session)
        events = session.log.read(0)
    sections = [section.section for section in of(Outline, events)[0].sections]
    assert [(event.section, event.outcome) for event in of(SectionEnd, events)] == [
        (section, "skipped" if section == "s1" else "done") for section in sections
    ]
    assert {event.section for event in of(Content, events)} >= set(sections[1:])


async def test_parallel_agents_speak_at_once_and_one_can_be_stopped() -> None:
    async with started() as session:
        await session.say("demo parallel")
        await asyncio.sleep(0.2)
        assert session.stop_part("agent", "protocol")
        await settled(session)
        events = session.log.read(0)
    ends = {event.agent: event.state for event in of(Status, events)}
    assert len(ends) >= 2
    assert ends.pop("protocol") == "stopped"
    assert set(ends.values()) == {"finished"}
    check_law(events)


async def test_slow_takes_twenty_seconds_and_tells_each_step() -> None:
    loop = asyncio.get_running_loop()
    async with started() as session:
        began = loop.time()
        run = await ask(session, "demo slow")
        assert 20 <= loop.time() - began < 25
    assert [event.detail for event in of(Status, run)][-1] == "step 20 of 20"


async def test_an_outline_section_is_written_again_from_another_passage() -> None:
    async with started() as session:
        await session.say("demo outline")
        while not any(isinstance(event, SectionEnd) for event in session.log.read(0)):
            await session.log.wait(session.log.tail)
        assert session.stop_part("section", "s1", redo=True)
        await settled(session)
        events = session.log.read(0)
    first, again = (event.data for event in of(Content, events) if event.section == "s1")
    assert first != again
    told = runs(events)[0].text()
    assert again in told
    assert first not in told
    assert [event.outcome for event in of(SectionEnd, events)] == ["done"] * 5


async def test_sections_fill_in_two_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with started() as session:
        began = loop.time()
        await ask(session, "demo outline")
        outline = loop.time() - began
        run = await ask(session, "demo sections")
        assert loop.time() - began - outline < 0.75 * outline
    both = [{event.section for event in pair} for pair in zip(of(Content, run), of(Content, run)[1:], strict=False)]
    assert {"s1", "s2"} in both


async def test_fallback_takes_the_failed_attempts_back() -> None:
    async with started() as session:
        await ask(session, "hi")
        run = await ask(session, "demo fallback close codes")
    states = [event.state for event in of(Status, run)]
    assert states == ["reset", "retrying", "reset", "fallback", "degraded"]
    details = [event.detail for event in of(Status, run)]
    assert "broke off" in details[1]
    assert details[3] == "in_one_piece"
    assert cast("Done", run[-2]).streamed is False
    whole = of(Content, run)[-1].data
    assert runs(run)[0].text() == whole
    assert whole.startswith("**PROTOCOL.md › Close codes**")  # noqa: RUF001


@pytest.mark.parametrize(
    ("reply", "outcome", "said", "ran"),
    [
        ({"approved": True}, "replied", "You said yes", True),
        ({"approved": False}, "replied", "I did not do it: refused by the user", False),
        ({"approved": "yes"}, "replied", "I did not do it: refused by the user", False),
        (None, "expired", "I did not do it: nobody allowed it in time", False),
    ],
)
async def test_approval_does_only_what_was_approved(reply: Any, outcome: str, said: str, *, ran: bool) -> None:
    async with started() as session:
        run = await ask(session, "demo approval", reply)
    request = of(Request, run)[0]
    assert request.kind == "approval"
    assert of(Resolved, run)[0].outcome == outcome
    assert bool(of(ToolRun, run)) is ran
    assert said in runs(run)[0].text()
    assert json.loads("".join(event.data for event in of(ToolInput, run))) == request.data["input"], "as it is written"


@pytest.mark.parametrize("seconds", [3.0, 12.0])
async def test_tools_are_stopped_each_in_its_own_way(seconds: float) -> None:
    async with started() as session:
        await session.say("demo tools")
        await asyncio.sleep(seconds)
        session.interrupt()
        await settled(session)
        events = session.log.read(0)
    names = {event.tool: event.name for event in of(ToolStart, events)}
    fates = {names[tool]: fate for tool, fate in cast("Settled", events[-1]).tools.items()}
    if seconds == 3:
        assert fates == {"cancelled": "cancelled", "finished": "finished_after_stop", "detached": "running"}
    else:
        assert fates == {"cancelled": "finished", "finished": "finished", "detached": "running"}


async def test_a_voice_gets_whole_sentences() -> None:
    async with started() as session:
        await ask(session, "hi")
        run = await ask(session, "demo voice")
    pieces = [event.data for event in run if isinstance(event, Content)]
    whole = [piece for piece in pieces if boundary(piece, "sentence") == len(piece)]
    assert len(whole) >= len(pieces) - 3, "but for the ends of passages, and one that took too long"
    assert len(pieces) < 0.2 * len("".join(pieces).split())


@pytest.mark.parametrize("reply", ["close codes", {"text": "close codes"}])
async def test_question_goes_on_with_the_reply(reply: Any) -> None:
    async with started() as session:
        run = await ask(session, "demo question", reply)
    assert "Close codes**" in runs(run)[0].text()


@pytest.mark.parametrize("reply", [7, [], {}, {"text": 7}])
async def test_question_survives_any_reply(reply: Any) -> None:
    async with started() as session:
        assert isinstance((await ask(session, "demo question", reply))[-2], Done)


async def test_steer_bends_the_answer() -> None:
    async with started() as session:
        await session.say("demo steer resume")
        await asyncio.sleep(1)
        assert (await session.say("close codes", when_busy="steer")).outcome == "steered"
        await settled(session)
        events = session.log.read(0)
    assert [event.state for event in of(Status, events)] == ["steered"]
    before, after = runs(events)[0].text().split("You said “close codes”. I go on with that.")
    assert "› Close codes**" not in before  # noqa: RUF001
    assert "› Close codes**" in after  # noqa: RUF001


# An answer that goes on


async def test_an_answer_that_was_stopped_goes_on_in_mid_word() -> None:
    for message in ("What are the close codes?", "demo voice", "demo thinking close codes", "demo outline"):
        async with started() as session:
            whole = await answer(session, message)
        async with started() as session:
            run = await stopped(session, message, len(whole) // 2)
            kept = runs(session.log.read(0))[-1].text()[: len(whole) // 2]
            await go_on(session, run)
            await settled(session)
            assert kept + runs(session.log.read(0))[-1].text() == whole


async def test_more_and_a_second_stop_go_on_too() -> None:
    async with started() as session:
        await answer(session, "What are the close codes?")
        whole = await answer(session, "more")
    async with started() as session:
        await answer(session, "What are the close codes?")
        run = await stopped(session, "more", 50)
        with session.view():
            more = await session.say("", continues=run)
            while len(runs(session.log.read(0))[-1].text()) < 30:
                await session.log.wait(session.log.tail)
            session.interrupt(seen=27)
        await go_on(session, more.run)
        await settled(session)
        assert whole.endswith(runs(session.log.read(0))[-1].text())
        assert "".join(view.kept for view in runs(session.log.read(0))[1:]) == whole
