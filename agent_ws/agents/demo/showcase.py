"""The showcases: each plays one thing that the wire can tell, in work that is really done.

The one rule: a showcase is an async function of a stage and a topic, and its docstring is its line in the list that
users see.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ...errors import AgentError
from ...turn import Turn
from .calculator import calculate
from .documents import Passage, words
from .stage import Stage, quoted

Showcase: TypeAlias = Callable[[Stage, str], Awaitable[None]]

WORDS = 2000
STEPS = 20
ASK_S = 60.0


def _found(stage: Stage, topic: str, *, limit: int = 1, file: str | None = None) -> list[Passage]:
    """Passages on the user's own topic, or on what the documents are about where it leads nowhere."""
    search = stage.documents.search
    return search(topic, limit=limit, file=file) or search("interrupt resume session", limit=limit, file=file)


async def thinking(stage: Stage, topic: str) -> None:
    """Thinking that is shown apart from the answer."""
    topic = topic or "interrupt and resume"
    await stage.say(f"I look for the words {', '.join(words(topic)) or 'interrupt, resume'}. ", stage.turn.thinking)
    passages = _found(stage, topic, limit=5)
    await stage.say(f"{len(passages)} sections fit; the heading that fits best comes first. ", stage.turn.thinking)
    await stage.pause()
    await stage.say(quoted(passages[:1]))


async def steps(stage: Stage, topic: str) -> None:
    """An answer in steps: thinking, two tools, and what they found."""
    turn, topic = stage.turn, topic or "resume after a crash"
    await stage.say("First I search the documents, then I count how long the passage takes to read. ", turn.thinking)
    turn.tools(search="search_documents", count="calculate")
    async with turn.tool("search_documents", {"query": topic}, tool="search") as call:
        await stage.pause()
        passages = _found(stage, topic)
        call.output = "\n".join(passage.section.source for passage in passages)
    text = quoted(passages)
    sum_ = f"{len(text.split())} / 200 * 60"
    async with turn.tool("calculate", {"expression": sum_}, tool="count") as call:
        await stage.pause()
        call.output = calculate(sum_)
    await stage.say(f"{text}\n\nThat takes about {float(call.output):.0f} seconds to read, at 200 words a minute.")


async def outline(stage: Stage, topic: str) -> None:
    """An answer with an outline first, whose sections fill in; each can be skipped."""
    passages = _found(stage, topic, limit=4)
    titles = {f"s{i}": passage.section.heading for i, passage in enumerate(passages, 1)}
    stage.turn.outline(**titles)
    await stage.pause()
    for (section, title), passage in zip(titles.items(), passages, strict=True):
        async with stage.turn.section(section, title) as opened:
            await stage.say(passage.text, opened.content)


async def parallel(stage: Stage, topic: str) -> None:
    """Several agents at once, one for each document; each can be stopped alone."""

    def reader(file: str) -> Callable[[Turn], Awaitable[None]]:
        async def read(turn: Turn) -> None:
            own = stage.on(turn)
            await own.say(quoted(_found(own, topic, file=file)) or f"{file} says nothing about that.")

        return read

    await stage.turn.together(**{file.removesuffix(".md").lower(): reader(file) for file in stage.documents.files()})


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


async def fallback(stage: Stage, topic: str) -> None:
    """An attempt that breaks off, is taken back, and is made up for in one piece."""
    turn, answer = stage.turn, quoted(_found(stage, topic))
    half = " ".join(answer.split(" ")[: len(answer.split(" ")) // 2])

    async def first_attempt() -> None:
        await stage.say(half)
        raise ConnectionError  # staged: nothing offline breaks off by itself

    try:
        await first_attempt()
    except ConnectionError:
        turn.status("retrying", "The connection broke off (on purpose, to show this).", attempt=2)
        turn.take_back(len(half))
    await stage.pause()
    turn.status("fallback", "The second attempt failed too, so another way is taken.")
    await stage.pause()
    turn.status("degraded", "The other way does not stream: the answer comes in one piece.", streamed=False)
    turn.content(answer)


async def approval(stage: Stage, _topic: str) -> None:
    """A tool that asks you first, and what becomes of it."""
    turn = stage.turn
    await stage.say(f"I would like to count all words of the documents. You have {ASK_S:g} seconds to answer.\n\n")
    turn.tools(count="count_words")
    reply = await turn.ask("approval", "May I count the words of all documents?", tool="count", timeout=ASK_S)
    if reply is None:
        await stage.say("Nobody answered in time, so I did not do it.")
    elif not (reply.get("approved") is True if isinstance(reply, dict) else reply is True):  # pyright: ignore[reportUnknownMemberType]
        await stage.say("You said no, so I did not do it.")
    else:
        async with turn.tool("count_words", {"files": stage.documents.files()}, tool="count") as call:
            await stage.pause()
            call.output = str(sum(len(section.markdown().split()) for section in stage.documents.sections()))
        await stage.say(f"You said yes, and I did it: they have {call.output} words.")


async def question(stage: Stage, _topic: str) -> None:
    """An agent that asks you something and goes on with your answer."""
    options = [section.heading for section in stage.documents.sections()][:4]
    reply = await stage.turn.ask("question", "What shall I look up?", data={"options": options}, timeout=ASK_S)
    if reply is None:
        await stage.say("Nobody answered in time, so I looked nothing up.")
        return
    topic = _words_of(reply)
    passages = stage.documents.search(topic, limit=1)
    await stage.say(f"You asked for “{topic}”.\n\n{quoted(passages) or 'I found nothing about that.'}")


async def steer(stage: Stage, topic: str) -> None:
    """A long answer that bends: say more while it runs, with “steer”, and it changes its subject."""
    ahead = _found(stage, topic, limit=6)
    while ahead:
        await stage.say(f"{quoted([ahead.pop(0)])}\n\n")
        await stage.pause()
        for said in stage.turn.steered():
            ahead = stage.documents.search(said)
            await stage.say(f"You said “{said}”. {'I go on with that' if ahead else 'I know nothing about that'}.\n\n")


async def long(stage: Stage, _topic: str) -> None:
    """About 2,000 words in a row: to press Stop, to reload the page, to come back on another tab."""
    left = WORDS
    while left > 0 and stage.documents.sections():
        for section in stage.documents.sections():
            for line in f"**{section.source}**\n\n{section.markdown()}\n\n".splitlines(keepends=True):
                if left > 0:
                    await stage.say(line)
                    left -= len(line.split())


async def error(stage: Stage, _topic: str) -> None:
    """An answer that fails."""
    await stage.say("This answer is going to fail, ")
    raise AgentError("It failed on purpose, to show how an error looks. What was written before is kept.")


def _words_of(reply: Any) -> str:
    """The user's words in a reply, whose form is the client's to choose: the reply itself, or the first text in it."""
    values: list[Any] = list(reply.values()) if isinstance(reply, dict) else [reply]  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return next((value for value in values if isinstance(value, str)), json.dumps(reply))


SHOWCASES: dict[str, Showcase] = {
    showcase.__name__: showcase
    for showcase in (steps, thinking, outline, parallel, slow, fallback, approval, question, steer, long, error)
}
"""By the word that asks for it: "demo steps"."""
