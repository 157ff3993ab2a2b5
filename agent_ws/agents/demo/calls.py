"""The showcases that call tools: announced, asked for, stopped in different ways.

The one rule: as in `showcase`; the work of a tool is real, only the model that would call it is missing.
"""

import asyncio
import json
from collections import Counter
from typing import Any

from ...tools import Asked, OnInterrupt, Tool, named, tool, use, use_all
from .calculator import calculate
from .documents import words
from .stage import Stage, found, quoted

STEPS = 20
INPUT = 6
"""Characters of a call's input that come at once, as from a model."""


async def steps(stage: Stage, topic: str) -> None:
    """An answer in steps: thinking, two tools, and what they found."""
    turn, topic = stage.turn, topic or "resume after a crash"
    await stage.say("First I search the documents, then I count how long the passage takes to read. ", turn.thinking)
    turn.tools(search="search_documents", count="calculate")
    async with turn.tool("search_documents", {"query": topic}, tool="search") as call:
        await stage.pause()
        passages = found(stage, topic)
        call.output = "\n".join(passage.section.source for passage in passages)
    text = quoted(passages)
    sum_ = f"{len(text.split())} / 200 * 60"
    async with turn.tool("calculate", {"expression": sum_}, tool="count") as call:
        await stage.pause()
        call.output = calculate(sum_)
    await stage.say(f"{text}\n\nThat takes about {float(call.output):.0f} seconds to read, at 200 words a minute.")


async def slow(stage: Stage, _topic: str) -> None:
    """A tool that takes its time: 20 steps, a second each; press Stop while it runs."""
    sections = stage.documents.sections()
    counted: Counter[str] = Counter()
    async with stage.turn.tool("count_words", {"files": stage.documents.files()}) as call:
        for step in range(STEPS):
            stage.turn.status("working", f"step {step + 1} of {STEPS}")
            await stage.pause()
            for section in sections[step::STEPS]:
                counted.update(word for word in section.markdown().casefold().split() if words(word) == [word])
        top = ", ".join(f"{word} ({times} times)" for word, times in counted.most_common(5))
        call.output = top
    await stage.say(f"I went through {len(sections)} sections. The words they use most are {top}.")


async def approval(stage: Stage, _topic: str) -> None:
    """A tool that asks you first, with its input as it is written, and what becomes of it."""

    @tool(needs_approval=True)
    async def count_words(files: list[str]) -> int:
        """Count the words of documents."""
        return sum(_count(stage, file) for file in files)

    seconds = stage.turn.timeouts.reply
    await stage.say(f"I would like to count all words of the documents. You have {seconds:g} seconds to answer.\n\n")
    [call] = await _called(stage, count_words)
    result = await use(stage.turn, named([count_words]), call)
    if result.ok:
        await stage.say(f"You said yes, and I did it: they have {result.output} words.")
    else:
        await stage.say(f"I did not do it: {result.output.strip('[]')}.")


async def tools(stage: Stage, _topic: str) -> None:
    """Three tools at once, to press Stop: one is cancelled by it, one comes to its end first, one goes on by itself.
    The receipt tells which did what.
    """

    def counting(name: str, on_interrupt: OnInterrupt, steps: int) -> Tool:
        @tool(name=name, on_interrupt=on_interrupt)
        async def count(files: list[str]) -> str:
            """Count the words of documents, taking some time."""
            total = 0
            for step in range(steps):
                await stage.pause()
                total += sum(_count(stage, file) for file in files[step::steps])
            return f"{total} words"

        return count

    kinds = (counting("cancelled", "cancel", 10), counting("finished", "finish", 4), counting("detached", "detach", 20))
    calls = await _called(stage, *kinds)
    results = await use_all(stage.turn, named(kinds), calls)
    said = [f"{call.name}: {result.output}" for call, result in zip(calls, results, strict=True)]
    await stage.say(f"Nobody pressed Stop, so all three came to their end. {', '.join(said)}.")


async def _called(stage: Stage, *kinds: Tool) -> list[Asked]:
    """Calls of all tools on all documents, written piece by piece."""
    files = stage.documents.files()
    written = json.dumps({"files": files})
    calls = [stage.turn.begin_tool(kind.name) for kind in kinds]
    for start in range(0, len(written), INPUT):
        for call in calls:
            stage.turn.tool_input(call, written[start : start + INPUT])
        await asyncio.sleep(stage.seconds(0.05))
    asked: dict[str, Any] = {"files": files}
    return [Asked(call, kind.name, asked) for call, kind in zip(calls, kinds, strict=True)]


def _count(stage: Stage, file: str) -> int:
    return sum(len(section.markdown().split()) for section in stage.documents.sections() if section.file == file)
