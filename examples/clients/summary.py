"""A script that asks, and uses the answer: here it stops an answer that gets too long.

    agent-ws serve
    python examples/clients/summary.py "What is a session?" 400

The connection may be lost at any moment: it is come back from, and no character is lost or comes twice.
"""

import asyncio
import sys

import agent_ws
from agent_ws.events import Done, Error, Interrupted


async def asked(url: str, question: str, most: int) -> tuple[str, str]:
    """The answer, at most `most` characters of it and what came with the last ones; and how it ended."""
    text, ending = "", ""
    async with agent_ws.connect(url, patience=5) as client:
        async for event in client.answer(question):
            match event:
                case agent_ws.Content(data=data):
                    text += data
                    if len(text) >= most:
                        client.interrupt(event.run, seen=most, reason="long enough")
                case Done() | Interrupted() | Error():
                    ending = type(event).__name__.lower()
                case _:
                    pass
    return text[:most], ending


def main(question: str, most: str = "1000", url: str = "http://127.0.0.1:8000") -> int:
    """Print the answer. The exit status is 1 where the agent failed."""
    text, ending = asyncio.run(asked(url, question, int(most)))
    print(text)
    return ending == "error"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
