"""The bare pusher: a protocol on uvloop that knows nothing but the handshake, and pushes a frame made in advance.

The one rule: whatever can be left out is left out. No server that does anything for its clients can be faster.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1
from typing import cast

from ..link import new_event_loop
from ..work import TOKEN
from .process import begin

RUN = "0123456789abcdefghijkl"
"""A run's id, as long as one of ours: frames are to be of one size."""
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def framed(**fields: object) -> bytes:
    """A text frame with a JSON object of fewer than 126 bytes."""
    data = json.dumps(fields, separators=(",", ":")).encode()
    return bytes([0x81, len(data)]) + data


START = framed(type="start", run=RUN)
CONTENT = framed(type="content", seq=1000, run=RUN, data=TOKEN)
DONE = framed(type="done", run=RUN)
INTERRUPTED = framed(type="interrupted", run=RUN)


class Pusher(asyncio.Protocol):
    """One client."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._open = False
        self._timer: asyncio.Handle | None = None
        self._resume: Callable[[], None] | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._stop()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._resume is not None:
            resume, self._resume = self._resume, None
            resume()

    def data_received(self, data: bytes) -> None:
        if not self._open:
            key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            accept = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self._open = True
        elif b'"interrupt"' in data:
            self._stop()
            self._transport.write(INTERRUPTED)
        elif b'"message"' in data:  # the generator's mask is zero
            self._play(json.loads(data[data.index(b"{") :])["message"].split())

    def _play(self, work: list[str]) -> None:
        self._transport.write(START)
        match work:
            case ["pace", rate, count]:
                self._pace(self._loop.time(), 1 / float(rate), 0, int(count))
            case ["burst", ready, seconds]:
                self._burst(CONTENT * int(ready), self._loop.time() + float(seconds))
            case ["once"]:
                self._transport.write(CONTENT)
                self._transport.write(DONE)
            case _:
                pass  # hold

    def _pace(self, begin: float, period: float, k: int, count: int) -> None:
        self._transport.write(CONTENT)
        if k + 1 < count:
            due = begin + (k + 1) * period
            self._timer = self._loop.call_at(due, self._pace, begin, period, k + 1, count)
        else:
            self._transport.write(DONE)

    def _burst(self, frames: bytes, end: float) -> None:
        if self._paused:
            self._resume = lambda: self._burst(frames, end)
            return
        self._transport.write(frames)
        if self._loop.time() < end:
            self._timer = self._loop.call_soon(self._burst, frames, end)
        else:
            self._transport.write(DONE)

    def _stop(self) -> None:
        self._resume = None
        if self._timer is not None:
            self._timer.cancel()


async def serve(port: int) -> asyncio.Server:
    """Listen. 0 takes a free port."""
    return await asyncio.get_running_loop().create_server(Pusher, "127.0.0.1", port, backlog=2048)


async def _main() -> None:
    server = await serve(0)
    begin(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_main())
