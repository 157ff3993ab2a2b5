"""What the demo agent makes of a message: help, a calculation, a showcase, more of the last answer or a search.

The one rule: the first that fits answers, and a search fits everything.
"""

import asyncio
import re

from ...history import Message, Text
from ...turn import Turn
from .calculator import NotCalculable, calculate, expression
from .documents import Documents
from .showcase import SHOWCASES
from .stage import Stage, quoted

PACE = 0.025
"""Seconds from word to word: 40 words a second, quick to read along and slow enough to press Stop."""
PASSAGES = 2
"""Passages that one answer shows."""

WHAT_I_AM = (
    "I am the offline demo agent, not a language model: I search this project's documentation, calculate, and show "
    "what the wire can do. For a model, set `ANTHROPIC_API_KEY` and start the server again; for an agent of your own, "
    "run `agent-ws serve your_module:agent`."
)
HELP = f"""{WHAT_I_AM}

Try one of these:

- a question about this project: *What happens when I press Stop?* Then *more* for the next passages
- a calculation: *what is 17 * (3 + 4)*
- a showcase; most take a topic too: *demo steps close codes*

""" + "\n".join(
    f"- **demo {name}**: {' '.join((showcase.__doc__ or '').split())}" for name, showcase in SHOWCASES.items()
)

_GREETING = re.compile(r"(?:help|hi|hello|hey)(?:\s+(?:there|agent|demo))?\W*|\?+", re.IGNORECASE)
_SHOWCASE = re.compile(r"(.*?)\bdemo\s+(\w+)[ \t:,.!?]*(.*)", re.IGNORECASE | re.DOTALL)
_MORE = re.compile(r"(?:more|again|go on|next)(?:[\s,]+please)?\W*", re.IGNORECASE)


class Demo:
    """The agent. `pace`: seconds from word to word; 0 for tests. An instance may serve any number of sessions."""

    def __init__(self, pace: float = PACE, documents: Documents | None = None) -> None:
        self.documents = documents or Documents()
        self._pace = pace

    async def __call__(self, turn: Turn) -> None:
        """An agent, see `turn.Agent`."""
        if not self.documents.loaded:
            await asyncio.to_thread(self.documents.load)  # it reads files
        stage = Stage(turn, self.documents, self._pace)
        message, past = turn.message.strip(), turn.history
        if turn.continues is not None:
            message, past = _asked(past)
        if _GREETING.fullmatch(message):
            await stage.say(HELP)
            return
        await self._answer(stage, message, past)
        if not past:
            await stage.say(f"\n\n---\n\n*{WHAT_I_AM} Say* help *for what I can do.*")

    async def _answer(self, stage: Stage, message: str, past: tuple[Message, ...]) -> None:
        asked = _SHOWCASE.fullmatch(message)
        if sum_ := expression(message):
            await self._calculate(stage, sum_)
        elif not stage.documents.files():
            await stage.say("I can only calculate: the documentation that I search is not installed with this server.")
        elif asked is not None and (showcase := SHOWCASES.get(asked[2].lower())):
            await showcase(stage, asked[3])
        elif asked is not None and not asked[1]:
            await stage.say(f"There is no showcase “{asked[2]}”. There are: {', '.join(SHOWCASES)}.")
        elif _MORE.fullmatch(message):
            await self._more(stage, past)
        else:
            await self._search(stage, message)

    async def _calculate(self, stage: Stage, sum_: str) -> None:
        try:
            await stage.say(f"`{sum_}` is **{calculate(sum_)}**.")
        except NotCalculable as error:
            await stage.say(str(error))

    async def _search(self, stage: Stage, question: str, skip: int = 0) -> None:
        passages = stage.documents.search(question, limit=PASSAGES, skip=skip)
        if passages:
            await stage.say(quoted(passages))
        elif skip:
            await stage.say("That was all that I found about it.")
        else:
            files = ", ".join(stage.documents.files())
            await stage.say(f"I found nothing about that in {files}. Other words may help: I only compare words.")

    async def _more(self, stage: Stage, past: tuple[Message, ...]) -> None:
        """The next passages for the last question; which ones they are follows from the history."""
        told = 1
        for said in reversed(_said(past)):
            if not _MORE.fullmatch(said):
                if _GREETING.fullmatch(said) or _SHOWCASE.fullmatch(said) or expression(said):
                    break
                await self._search(stage, said, skip=told * PASSAGES)
                return
            told += 1
        await stage.say("There is nothing to go on with: ask me a question about this project first.")


def _asked(history: tuple[Message, ...]) -> tuple[str, tuple[Message, ...]]:
    """What the user asked last, and the history before that: the answer to it is to go on."""
    at = next(i for i in reversed(range(len(history))) if _said(history[i : i + 1]))
    return _said(history[at : at + 1])[-1], history[:at]


def _said(history: tuple[Message, ...]) -> list[str]:
    """What the user said, oldest first."""
    return [
        part.text.strip()
        for message in history
        if message.role == "user"
        for part in message.parts
        if isinstance(part, Text)
    ]


demo = Demo()
