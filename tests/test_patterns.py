"""What docs/patterns.md shows works as it is printed, and can be stopped at every step of the event loop."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from steps import SteppedVirtualLoop

from agent_ws.events import Done, Event, Interrupted, Settled
from agent_ws.fold import runs
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.testing.invariants import check_log
from agent_ws.turn import Agent

PAGE = (Path(__file__).parents[1] / "docs" / "patterns.md").read_text()
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
SAID = "One word. Two words! "
"""What the model says to everything, word by word."""

SHOWN: dict[str, tuple[str, set[str]]] = {
    "Text as it comes": (SAID, {"content"}),
    "Whole words, whole sentences": (SAID, {"content"}),
    "Fewer, bigger pieces": (SAID, {"content"}),
    "A source that is late": (SAID, {"content"}),
    "Reasoning, shown apart": ("4", {"thinking", "status", "content"}),
    "An answer in steps": ("I read it: it is so.", {"tools", "tool_start", "tool_result"}),
    "A call from its first letter, asked for, and answered": (
        "/tmp/x is gone. seat 7 is yours. all is exported. ",  # noqa: S108 - what the page says
        {"tool_start", "tool_input", "request", "resolved", "tool_run", "tool_result"},
    ),
    "An outline whose sections fill in": (
        f"{SAID}It follows.That is all.",
        {"outline", "section_start", "section_end", "thinking"},
    ),
    "Several agents at once": ("", {"status"}),
    "What the user says meanwhile": (SAID * 3, {"content"}),
    "A question in the middle": ("Here is 2026.", {"request", "resolved"}),
    "An attempt that fails": ("This works.", {"status"}),
    "A draft that is taken back": ("It is 4.", {"status", "thinking"}),
}
"""The text of each, where it is always the same, and events that it has to have."""

each = pytest.mark.parametrize("pattern", BLOCKS)


class Model:
    """Stands for a provider's stream; counts those that are open."""

    def __init__(self) -> None:
        self.open = 0

    async def __call__(self, _: str) -> AsyncGenerator[str]:
        self.open += 1
        try:
            for word in re.findall(r"\S+\s", SAID):
                await asyncio.sleep(0.03)
                yield word
        finally:
            self.open -= 1


def agent_of(pattern: str, model: Model) -> Agent:
    names: dict[str, Any] = {"model": model, "__name__": "patterns"}
    exec(BLOCKS[pattern], names)  # noqa: S102 - our own page
    return names["agent"]


async def played(session: Session) -> list[Event]:
    """Everything that happens, with each question answered."""
    while session.busy:
        if session.going is not None:
            for request in tuple(session.going.writer.brackets.requests):
                session.reply(request, {"approved": True, "text": "2026"})
        await session.log.wait(session.log.tail)
    events = session.log.read(0)
    check_log(events, over=True)
    return events


def tags(events: list[Event]) -> set[str]:
    return {cast("str", type(event).__struct_config__.tag) for event in events}


def test_each_pattern_is_tried() -> None:
    assert set(SHOWN) == set(BLOCKS)
    assert len(BLOCKS) == PAGE.count("```python") == PAGE.count("\n## ")


@pytest.mark.virtual
@each
async def test_it_works_as_it_is_printed(pattern: str) -> None:
    model = Model()
    async with Sessions(agent_of(pattern, model), Settings()) as sessions:
        session, _ = await sessions.create("me")
        with session.view():
            await session.say("Why?")
            events = await played(session)
    text, expected = SHOWN[pattern]
    assert isinstance(events[-2], Done)
    assert runs(events)[0].text() == text or not text
    assert expected <= tags(events)
    assert model.open == 0


@each
def test_it_is_stopped_at_every_step(pattern: str, record_property: Callable[[str, object], None]) -> None:
    """Swept. The log is lawful, the history one that a provider takes, streams are closed, the next message runs."""
    model = Model()
    agent = agent_of(pattern, model)

    async def stopped_at(loop: SteppedVirtualLoop, step: int) -> bool:
        async with Sessions(agent, Settings()) as sessions:
            session, _ = await sessions.create("me")
            with session.view():
                loop.steps.arm(step, session.interrupt)
                await session.say("Why?")
                events = await played(session)
                done = loop.steps.disarm()
                settled = cast("Settled", events[-1])
                assert settled.task in (
                    ("finished",) if isinstance(events[-2], Done) else ("cancelled", "never_started")
                )
                assert isinstance(events[-2], Done | Interrupted)
                assert model.open == 0
                await session.say("And now?")
                assert isinstance((await played(session))[-2], Done)
        return done

    steps = 0
    with asyncio.Runner(loop_factory=SteppedVirtualLoop) as runner:
        while runner.run(stopped_at(cast("SteppedVirtualLoop", runner.get_loop()), steps)):
            steps += 1
            assert steps < 1000
    record_property("facts", f"{pattern}: stopped at {steps} steps")
    assert steps > 2
