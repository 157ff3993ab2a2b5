"""FastAPI and sse-starlette, on uvicorn with its defaults: an answer is an event stream over HTTP."""

import sys
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI
from sse_starlette import EventSourceResponse

from agent_ws.load.peers.pusher import RUN
from agent_ws.load.work import play

app = FastAPI()
encode = msgspec.json.Encoder().encode


async def _events(work: str) -> AsyncGenerator[dict[str, Any]]:
    seq = 0
    async for token in play(work):
        seq += 1
        yield {"data": encode({"type": "content", "seq": seq, "run": RUN, "data": token}).decode()}
    yield {"data": '{"type":"done"}'}


@app.get("/stream")
async def stream(work: str) -> EventSourceResponse:
    """The answer to a message."""
    return EventSourceResponse(_events(work))


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]))
