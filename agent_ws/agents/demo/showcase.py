"""The showcases: each plays one thing that the wire can tell, in work that is really done.

The one rule: a showcase is an async function of a stage and a topic, and its docstring is its line in the list that
users see.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

from ...attempts import Retry, resilient
from ...errors import AgentError, RunError
from ...streams import buffered, chunked, timed
from ...turn import Turn, TurnSection, Write, drive
from .calls import approval, slow, steps, tools
from .documents import Passage, words
from .stage import Stage, found, quoted

Showcase: TypeAlias = Callable[[Stage, str], Awaitable[None]]

WORDS = 2000
ASK_S = 60.0
AT_ONCE = 2
PIECE = 60
"""Characters that the voice speaks at once, if there are as many."""


async def thinking(stage: Stage, topic: str) -> None:
    """Thinking that is shown apart from the answer."""
    topic = topic or "interrupt and resume"
    await stage.say(f"I look for the words {', '.join(words(topic)) or 'interrupt, resume'}. ", stage.turn.thinking)
    passages = found(stage, topic, limit=5)
    await stage.say(f"{len(passages)} sections fit; the heading that fits best comes first. ", stage.turn.thinking)
    await stage.pause()
    await stage.say(quoted(passages[:1]))


async def outline(stage: Stage, topic: str) -> None:
    """An answer with an outline first, whose sections fill in. Skip one, also before it begins; or have it written
    again while the others go on: then it looks for another passage.
    """
    await stage.turn.sections(**_planned(stage, topic))


async def sections(stage: Stage, topic: str) -> None:
    """The same with two sections at once."""
    await stage.turn.sections(at_once=AT_ONCE, **_planned(stage, topic))


def _planned(stage: Stage, topic: str) -> dict[str, Any]:
    passages = found(stage, topic, limit=4)

    def writer(passage: Passage, left: str) -> Write:
        async def write(section: TurnSection) -> None:
            await stage.pause()
            others = stage.documents.search(passage.section.heading, limit=section.attempt)
            await stage.say(left if section.attempt == 1 else others[-1].text, section.content)

        return write

    # Where the answer goes on, what was written whole is not there again.
    left = [(passage, rest) for passage in passages if (rest := stage.rest(passage.text))]
    return {f"s{i}": (passage.section.heading, writer(passage, rest)) for i, (passage, rest) in enumerate(left, 1)}


async def parallel(stage: Stage, topic: str) -> None:
    """Several agents at once, one for each document; each can be stopped alone."""

    def reader(file: str) -> Callable[[Turn], Awaitable[None]]:
        async def read(turn: Turn) -> None:
            own = stage.on(turn)
            await own.say(quoted(found(own, topic, file=file)) or f"{file} says nothing about that.")

        return read

    await stage.turn.together(**{file.removesuffix(".md").lower(): reader(file) for file in stage.documents.files()})


async def fallback(stage: Stage, topic: str) -> None:
    """An attempt that breaks off, one that falls silent, both taken back, and another agent in their place, which
    answers in one piece.
    """
    answer, silence = quoted(found(stage, topic)), max(stage.seconds(1), 0.01)
    half = " ".join(answer.split(" ")[: len(answer.split(" ")) // 2])
    attempts = 0

    async def breaking_off() -> AsyncGenerator[str]:  # staged: nothing offline breaks off by itself
        async with aclosing(stage.words(half)) as said:
            async for word in said:
                yield word
        if attempts == 1:
            raise RunError("The connection broke off (on purpose, to show this).", code="provider_error")
        await stage.pause(60)

    async def streaming(turn: Turn) -> None:
        nonlocal attempts
        attempts += 1
        async with aclosing(timed(breaking_off(), silence=silence)) as said:
            async for word in said:
                turn.content(word)

    async def in_one_piece(turn: Turn) -> None:
        await stage.pause()
        turn.status("degraded", "This way does not stream.", streamed=False)
        turn.content(answer)

    retry = Retry(attempts=2, base=silence, random=lambda: 1.0)
    await drive(resilient(streaming, in_one_piece, retry=retry), stage.turn)


async def voice(stage: Stage, topic: str) -> None:
    """An answer for a voice: whole sentences, several at once where they are short, and none waits for long."""
    said = chunked(stage.words(stage.rest(quoted(found(stage, topic, limit=3)))), "sentence")
    async with aclosing(buffered(said, count=PIECE, seconds=stage.seconds(2))) as pieces:
        async for piece in pieces:
            stage.turn.content(piece)


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
    ahead = found(stage, topic, limit=6)
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
    for showcase in (
        *(steps, thinking, outline, sections, parallel, slow, fallback, approval, tools, question),
        *(steer, voice, long, error),
    )
}
"""By the word that asks for it: "demo steps"."""
