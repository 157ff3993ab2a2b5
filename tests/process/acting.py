"""Agents for the server processes of these tests: `agent-ws serve acting:NAME`, started in this folder."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

from agent_ws import AgentError, Fenced, Turn


async def echo(turn: Turn) -> AsyncGenerator[str]:
    yield "You said "
    yield turn.message


async def half(turn: Turn) -> AsyncGenerator[str]:
    """Half an answer, and no more; a whole one for `again`."""
    yield "Half of the "
    yield "answer"
    if turn.message != "again":
        await asyncio.Event().wait()


async def endless(_: Turn) -> AsyncGenerator[str]:
    n = 0
    while True:
        n += 1
        yield f"{n} "
        await asyncio.sleep(0.005)


async def asks(turn: Turn) -> str:
    """An answer that ends when the test says so, by a reply."""
    turn.content("Before. ")
    return f"After {await turn.ask('question', 'Well?')}."


async def permits(turn: Turn) -> str:
    """Does what the user allows."""
    answer = await turn.ask("approval", "Delete 3 files?")
    return "Deleted." if answer and answer["approved"] else "Nothing was deleted."


async def listens(turn: Turn) -> None:
    """Goes on until it is told something."""
    turn.content("Listening. ")
    while not (said := turn.steered()):  # noqa: ASYNC110 - as an agent does that looks between its steps
        await asyncio.sleep(0.01)
    turn.content(f"Heard {' '.join(said)}.")


async def remembers(turn: Turn) -> AsyncGenerator[str]:
    yield f"{len(turn.history)} messages before **{turn.message}**."


async def fails(turn: Turn) -> AsyncGenerator[str]:
    yield "Half. "
    raise AgentError(f"I can't {turn.message}.")


async def warns(turn: Turn) -> None:
    """Half an answer, and a question that shows to the other side that it is there."""
    turn.content("Half. ")
    await turn.ask("question", "Half of it is written")
    await asyncio.Event().wait()


async def paragraphs(turn: Turn) -> None:
    """One that is finished, one that is not, and no end."""
    turn.content("**One**.\n\nTwo.\n")
    await asyncio.Event().wait()


async def thinks_again(turn: Turn) -> None:
    """Takes back what it wrote."""
    turn.content("Wrong.\n\n")
    await asyncio.sleep(0.01)
    turn.take_back(len("Wrong.\n\n"))
    turn.content("Right.")


async def stubborn(turn: Turn) -> None:
    """Takes no notice of any cancellation."""
    turn.content("Here. ")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            with suppress(Fenced):
                turn.content("Still here. ")


async def threaded(turn: Turn) -> None:
    """Sits in a thread, which nobody can stop."""
    turn.content("Here. ")
    await asyncio.to_thread(time.sleep, 3600)


async def blocking(turn: Turn) -> None:
    """Stops the whole event loop."""
    await turn.ask("question", "Shall I?")
    print("blocking", file=sys.stderr, flush=True)  # noqa: T201 - what the test waits for
    time.sleep(3600)  # noqa: ASYNC251 - that is the fault it plays


async def flood(_: Turn) -> AsyncGenerator[str]:
    """More than any socket holds."""
    while True:
        yield "x" * 16_000
        await asyncio.sleep(0)


async def deaf(turn: Turn) -> None:
    """More than any socket holds, and then takes no notice of any cancellation."""
    for _ in range(200):
        turn.content("x" * 16_000)
        await asyncio.sleep(0)
    print("listens no more", file=sys.stderr, flush=True)  # noqa: T201 - what the test waits for
    await stubborn(turn)


async def busy(turn: Turn) -> None:
    """Does what the words of the message name, one after the other."""
    for n, word in enumerate(turn.message.split()):
        match word:
            case "stream":
                for i in range(60):
                    turn.content(f"{i} ")
                    await asyncio.sleep(0.002)
            case "burst":
                for i in range(2000):
                    turn.content(f"{i} ")
                    if i % 50 == 0:
                        await asyncio.sleep(0)
            case "tool":
                async with turn.tool("work", {"n": n}) as call:
                    await asyncio.sleep(0.03)
                    call.output = "worked"
            case "section":
                async with turn.section(f"s{n}", "A section") as section:
                    section.thinking("hm ")
                    await asyncio.sleep(0.01)
                    section.content("a part ")
            case "ask":
                turn.content(f"You said {await turn.ask('question', 'Well?', timeout=0.2)}. ")
            case _:
                turn.content(f"{word} ")


async def leaky(turn: Turn) -> None:
    """Fails in every way that others would print."""

    def forgotten() -> None:
        raise RuntimeError(f"forgotten {turn.message}")

    async with turn.tool("search", {"key": turn.message}) as call:
        call.output = turn.message
    asyncio.get_running_loop().call_soon(forgotten)
    raise RuntimeError(f"raised {turn.message}")
