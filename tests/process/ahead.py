"""A server whose disk takes nothing any more once an answer says so: its clients are ahead of its store."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from agent_ws import Turn
from agent_ws.events import Content
from agent_ws.stores import Batch
from agent_ws.stores.sqlite import SqliteStore

LOST = "This never reaches the disk."

_save = SqliteStore.save


async def save(self: SqliteStore, batches: Sequence[Batch]) -> None:
    if any(isinstance(event, Content) and LOST in event.data for batch in batches for event in batch.events):
        await asyncio.Event().wait()
    await _save(self, batches)


SqliteStore.save = save  # the process is this test's alone


async def agent(turn: Turn) -> AsyncGenerator[str]:
    yield "This does. "
    await turn.ask("question", "Is it there?")
    yield LOST
    await asyncio.Event().wait()
