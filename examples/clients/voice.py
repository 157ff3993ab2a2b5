"""A voice client: it speaks whole sentences, and who talks over it is heard at once.

    agent-ws serve
    python examples/clients/voice.py http://127.0.0.1:8000

Each line that you type is what the recogniser heard. The voice prints letter by letter, as fast as people speak; put a
synthesizer in its place.
"""

import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing

import agent_ws
from agent_ws.client import Client, Unanswered

LETTERS_A_SECOND = 15


class Voice:
    """Stands for a synthesizer that knows how far it is."""

    def __init__(self) -> None:
        self.spoken = 0
        """Characters of this answer that were heard."""

    async def say(self, text: str) -> None:
        """Speak. A cancellation cuts it off where it is."""
        for letter in text:
            await asyncio.sleep(1 / LETTERS_A_SECOND)
            print(letter, end="", flush=True)
            self.spoken += 1


class Answer:
    """One answer that is being spoken."""

    def __init__(self, client: Client, said: str) -> None:
        self._client = client
        self._voice = Voice()
        self._run = ""
        self._speaking = asyncio.create_task(self._speak(said))

    async def _speak(self, said: str) -> None:
        try:
            async with aclosing(self._client.answer(said)) as events:
                async for event in events:
                    if isinstance(event, agent_ws.Content):
                        self._run = event.run
                        await self._voice.say(event.data)
        except Unanswered as refused:
            print(refused)
        print()

    async def barge_in(self) -> None:
        """Be quiet, and tell the server how much was heard: also where the model was done long ago."""
        if self._speaking.done():
            return
        self._speaking.cancel()
        await asyncio.wait([self._speaking])
        self._client.interrupt(self._run or None, seen=self._voice.spoken, reason="barge_in")
        print(" -")

    async def end(self) -> None:
        """Wait until it has been spoken."""
        await asyncio.wait([self._speaking])


async def converse(client: Client, heard: AsyncIterable[str]) -> None:
    """Answer what is heard; what is said meanwhile cuts the answer off."""
    answer: Answer | None = None
    async for said in heard:
        if answer is not None:
            await answer.barge_in()
        answer = Answer(client, said)
    if answer is not None:
        await answer.end()


async def lines() -> AsyncIterator[str]:
    """What is typed. Stands for a recogniser."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


async def main(url: str) -> None:
    """Talk to the agent at `url`."""
    async with agent_ws.connect(url, chunk="sentence") as client:
        await converse(client, lines())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"))
