"""What one would write with Starlette: `send_text` on uvicorn with its defaults, and a task for the answer.

The one rule: nothing is tuned, and nothing is made slow. It encodes with msgspec, as we do.
"""

import asyncio
import json
import sys
from contextlib import aclosing

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent_ws.load.peers.pusher import RUN
from agent_ws.load.work import play


class Frame(msgspec.Struct, tag_field="type", tag=str.lower, omit_defaults=True):
    """What a client gets."""

    seq: int
    run: str
    data: str = ""


class Start(Frame):
    """The answer begins."""


class Content(Frame):
    """Text of it."""


class Done(Frame):
    """It is complete."""


class Interrupted(Frame):
    """It was stopped."""


encode = msgspec.json.Encoder().encode


async def _answer(socket: WebSocket, work: str) -> None:
    seq = 1
    await socket.send_text(encode(Start(seq, RUN)).decode())
    async with aclosing(play(work)) as tokens:
        async for token in tokens:
            seq += 1
            await socket.send_text(encode(Content(seq, RUN, token)).decode())
    await socket.send_text(encode(Done(seq + 1, RUN)).decode())


async def _serve(socket: WebSocket) -> None:
    await socket.accept()
    answer: asyncio.Task[None] | None = None
    try:
        while True:
            frame = json.loads(await socket.receive_text())
            if "message" in frame:
                answer = asyncio.create_task(_answer(socket, frame["message"]))
            elif answer is not None:
                answer.cancel()
                await asyncio.wait({answer})
                await socket.send_text(encode(Interrupted(0, RUN)).decode())
    except WebSocketDisconnect:
        pass
    finally:
        if answer is not None:
            answer.cancel()


app = Starlette(routes=[WebSocketRoute("/ws", _serve)])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]))
