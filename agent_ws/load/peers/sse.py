"""What one would write with Starlette: an event stream for each answer, on uvicorn with its defaults.

The one rule: nothing is tuned, and nothing is made slow. It encodes with msgspec, as we do.
"""

import socket
from collections.abc import AsyncGenerator
from urllib.parse import quote

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from ..work import play
from .process import begin
from .pusher import RUN


class Content(msgspec.Struct, tag_field="type", tag="content"):
    """Text of the answer."""

    seq: int
    run: str
    data: str


encode = msgspec.json.Encoder().encode


def request(work: str) -> bytes:
    """What asks for an answer."""
    return f"GET /stream?work={quote(work)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


async def _events(work: str) -> AsyncGenerator[bytes]:
    seq = 0
    async for token in play(work):
        seq += 1
        yield b"data: " + encode(Content(seq, RUN, token)) + b"\n\n"
    yield b'data: {"type":"done"}\n\n'


async def _stream(request: Request) -> StreamingResponse:
    return StreamingResponse(_events(request.query_params["work"]), media_type="text/event-stream")


def main() -> None:
    """Serve until the input ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=[Route("/stream", _stream)]), log_level="warning"))
    begin(listener.getsockname()[1])
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
