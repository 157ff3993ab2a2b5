"""What every part of the demo agent works with: a turn, the documents, and a voice that speaks at a pace.

The one rule: nothing is remembered between two turns; what an answer needs is in the turn. So one that is to go on is
made again, and what the user saw of it is left out.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence

from ...turn import Turn
from .documents import Documents, Passage

BEAT = 40
"""Words whose time one pause takes: a second, at the usual pace."""


class Stage:
    """One turn being answered. `pace`: seconds from word to word; 0: as fast as it goes."""

    def __init__(self, turn: Turn, documents: Documents, pace: float) -> None:
        self.turn = turn
        self.documents = documents
        self._pace = pace
        self._kept = turn.continues or ""
        """What the user saw of this answer, as far as it has not been made again."""

    def rest(self, text: str) -> str:
        """What is left to say of the answer's next piece. One that comes out otherwise than it did is said whole, like
        all that follows it.
        """
        kept = self._kept
        if kept.startswith(text):
            self._kept = kept[len(text) :]
            return ""
        self._kept = ""
        return text.removeprefix(kept)

    async def say(self, text: str, to: Callable[[str], None] | None = None) -> None:
        """Write `text` word by word into the answer, or into what `to` writes. A cancellation point at each word."""
        write = to or self.turn.content
        for word in _words(text if to else self.rest(text)):
            write(word)
            await asyncio.sleep(self._pace)

    async def words(self, text: str) -> AsyncGenerator[str]:
        """`text` word by word, as a model streams it."""
        for word in _words(text):
            yield word
            await asyncio.sleep(self._pace)

    async def pause(self, beats: float = 1) -> None:
        """Let people look. A cancellation point."""
        await asyncio.sleep(self.seconds(beats))

    def seconds(self, beats: float) -> float:
        """How long so many pauses take."""
        return self._pace * BEAT * beats

    def on(self, turn: Turn) -> "Stage":
        """The same for another turn: one of several agents."""
        return Stage(turn, self.documents, self._pace)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*\Z|\s*\S+", text)


def quoted(passages: Sequence[Passage]) -> str:
    """Passages as an answer shows them."""
    return "\n\n".join(f"**{passage.section.source}**\n\n{passage.text}" for passage in passages)


def found(stage: Stage, topic: str, *, limit: int = 1, file: str | None = None) -> list[Passage]:
    """Passages on the user's own topic, or on what the documents are about where it leads nowhere."""
    search = stage.documents.search
    return search(topic, limit=limit, file=file) or search("interrupt resume session", limit=limit, file=file)
