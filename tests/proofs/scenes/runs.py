"""What a run can be in, other than a model's stream: tools, sections, several agents, questions, threads, generators.

The one rule: each agent notes what it did, and the receipt has to say the same.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress

from agent_ws.errors import ToolTimeout
from agent_ws.events import Done, Error, Request
from agent_ws.session import Session
from agent_ws.settings import Limits, Settings
from agent_ws.turn import Turn

from .scene import Notes, Scene, driving, expect, talking


async def pauses(count: int) -> None:
    """Some steps of the loop, some by a timer."""
    for i in range(count):
        await asyncio.sleep(0.01 if i % 3 == 2 else 0)


@asynccontextmanager
async def tool(turn: Turn, notes: Notes, name: str) -> AsyncGenerator[None]:
    """A tool call that notes what became of it."""
    async with turn.tool("work", {"of": name}, tool=name):
        notes.tools[name] = "cancelled"
        yield
        notes.finished(name)


async def plain(turn: Turn, notes: Notes) -> None:
    turn.content("Let me see. ")
    async with tool(turn, notes, "t1"):
        await pauses(10)
    turn.content("Seen.")


async def tidy(turn: Turn, notes: Notes) -> None:
    """Its clean-up waits too."""
    async with tool(turn, notes, "t1"):
        try:
            await pauses(8)
        finally:
            await pauses(8)
    try:
        await pauses(5)
    finally:
        await pauses(5)


async def announced(turn: Turn, notes: Notes) -> None:
    """Calls that are announced, one of which never starts, and one that fails."""
    notes.tools = dict.fromkeys(("t1", "t2", "t3"), "never_started")
    turn.tools(t1="work", t2="work", t3="work")
    async with tool(turn, notes, "t1"):
        await pauses(4)
    with suppress(ValueError):
        async with tool(turn, notes, "t2"):
            await pauses(4)
            notes.finished("t2")  # a failure is an end
            raise ValueError
    await pauses(4)


async def late(turn: Turn, notes: Notes) -> None:
    """A call that runs out of its time, beside others that don't."""
    with suppress(ToolTimeout):
        async with turn.tool("work", tool="t1", timeout=0.05):
            notes.tools["t1"] = "cancelled"
            await pauses(60)
    async with tool(turn, notes, "t2"):
        await pauses(5)


async def nested(turn: Turn, notes: Notes) -> None:
    turn.outline(s1="One", s2="Two")
    for section in ("s1", "s2"):
        async with turn.section(section, "A section") as part:
            part.content("a")
            async with tool(turn, notes, f"t-{section}"):
                await pauses(7)
            part.content("b")


async def several(turn: Turn, notes: Notes) -> None:
    async def left(turn: Turn) -> None:
        async with tool(turn, notes, "left"):
            await pauses(12)

    async def right(turn: Turn) -> AsyncGenerator[str]:
        async with turn.section("s1"):
            yield "a"
            await pauses(6)
        async with tool(turn, notes, "right"):
            await pauses(6)
        yield "b"

    async def failing(_: Turn) -> None:
        await pauses(5)
        raise ValueError

    await turn.together(left=left, right=right, failing=failing)


async def _stopped_parts(turn: Turn, notes: Notes) -> None:
    """What is stopped in here is a part; the rest of the run goes on."""
    async with turn.section("part", "A part") as part:
        part.content("a")
        async with tool(turn, notes, "t1"):
            await pauses(8)
        part.content("b")

    async def one(turn: Turn) -> None:
        turn.content("c")
        async with tool(turn, notes, "t2"):
            try:
                await pauses(8)
            finally:
                await pauses(3)

    async def other(turn: Turn) -> None:
        await pauses(20)
        turn.content("d")

    await turn.together(part=one, other=other)
    turn.content("e")


async def _generated(turn: Turn) -> AsyncGenerator[str]:
    """A generator around a generator, both with clean-up that waits. Some of it never waits."""

    async def inner() -> AsyncGenerator[str]:
        try:
            for n in range(100):
                yield f"{n} "
            await pauses(6)
            yield "."
        finally:
            await pauses(6)

    assert turn.message
    try:
        async with aclosing(inner()) as pieces:
            async for piece in pieces:
                yield piece
    finally:
        await pauses(6)


async def asking(turn: Turn, notes: Notes) -> None:
    first = await turn.ask("question", "Well?", timeout=100)
    async with tool(turn, notes, "t1"):
        second = await turn.ask("approval", "Sure?", tool="t1", timeout=0.05)
    turn.content(f"{first} {second}")


def replying(session: Session) -> None:
    """Somebody answers the first question, and is too late for the second."""

    async def reply() -> None:
        await pauses(6)
        for event in session.log.read(0):
            if isinstance(event, Request) and event.kind == "question" and session.going is not None:
                session.reply(event.request, "yes")

    session.replier = asyncio.create_task(reply())  # pyright: ignore[reportAttributeAccessIssue] - a place to keep it


async def steered(turn: Turn, _: Notes) -> None:
    said = await turn.wait_steered()
    await pauses(4)
    turn.content(" ".join((*said, *await turn.wait_steered())))


def steering(session: Session) -> None:
    """Somebody says more, twice."""
    loop = asyncio.get_running_loop()
    for after in (0.02, 0.04):
        loop.call_later(after, lambda: session.going and session.take("more", when_busy="steer"))


async def threaded(turn: Turn, notes: Notes) -> None:
    for n in range(4):
        async with tool(turn, notes, f"t{n}"):
            await asyncio.to_thread(time.sleep, 0.001)
            await pauses(2)
        turn.content("a")


def supersede(session: Session) -> None:
    """What a message does that interrupts."""
    session.take("more", when_busy="interrupt")


def part(session: Session) -> None:
    """What a Stop does that names a part."""
    stopped = [session.stop_part("section", "part"), session.stop_part("agent", "part")]
    expect(stopped.count(True) < 2, "expected one part at a time")


def all_of_them(session: Session) -> None:
    """What a Stop does while messages wait."""
    waiting = len(session.queue)
    stopped = session.interrupt()
    expect(len(stopped) >= waiting, f"expected all {waiting} that wait to be stopped, got {stopped}")


def queueing(session: Session) -> None:
    for message in ("second", "third"):
        session.take(message, when_busy="queue")


SHORT = Settings(limits=Limits(run_chars=250))

SCENES = (
    Scene("tool", talking(plain), virtual=True),
    Scene("tool with clean-up", talking(tidy), virtual=True),
    Scene("tools announced, one fails", talking(announced), virtual=True),
    Scene("tool out of time", talking(late), virtual=True),
    Scene("tool in a section", talking(nested), virtual=True),
    Scene("several agents", talking(several), virtual=True),
    Scene("part stopped alone", talking(_stopped_parts, stop=part, ending=Done), virtual=True),
    Scene("parts, all stopped", talking(_stopped_parts), virtual=True),
    Scene("generator", talking(driving(_generated)), virtual=True),
    Scene("generator closed", talking(driving(_generated), settings=SHORT, alone=Error), virtual=True),
    Scene("question and reply", talking(asking, begin=replying), virtual=True),
    Scene("steering", talking(steered, begin=steering), virtual=True),
    Scene("superseded", talking(tidy, stop=supersede), virtual=True),
    Scene("shut down", talking(several, stop=Session.shut_down), virtual=True),
    Scene("with a queue", talking(plain, begin=queueing, stop=all_of_them), virtual=True),
    Scene("thread", talking(threaded)),
)
