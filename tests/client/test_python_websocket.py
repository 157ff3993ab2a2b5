"""The Python client's WebSocket by itself: how it leaves, and what it tells."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agent_ws.client.core import Ending
from agent_ws.client.incoming import Incoming
from agent_ws.client.websocket import GOODBYE_S, Listener, WebSocket, address
from agent_ws.frames import Ping, Pong, Say
from agent_ws.tasks import Tasks

DEADLINE_S = 10.0


class Heard:
    """What a connection told."""

    def __init__(self) -> None:
        self.frames: list[Incoming] = []
        self.endings: list[Ending] = []
        self.open = asyncio.Event()
        self.over = asyncio.Event()
        self.first: Callable[[], None] = lambda: None
        """What to do at the first frame."""

    def frame(self, frame: Incoming) -> None:
        self.frames.append(frame)
        if len(self.frames) == 1:
            self.first()

    def closed(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.over.set()

    @property
    def listener(self) -> Listener:
        return Listener(self.open.set, self.frame, self.closed)


@asynccontextmanager
async def connected(
    handler: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncGenerator[tuple[WebSocket, Heard]]:
    """A connection to a server that does this with it."""
    heard, tasks = Heard(), Tasks()
    async with serve(handler, "127.0.0.1", 0, compression=None, close_timeout=0.1) as server:
        port = server.sockets[0].getsockname()[1]
        socket = WebSocket(address(f"http://127.0.0.1:{port}"), {}, heard.listener, tasks)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await heard.open.wait()
                yield socket, heard
        finally:
            await tasks.close(1)


async def test_what_was_said_before_leaving_leaves_in_order_and_with_a_goodbye() -> None:
    got: list[str | bytes] = []
    code = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        got.extend([message async for message in connection])
        code.set_result(connection.close_code)

    async with connected(handler) as (socket, heard):
        for n in range(100):
            socket.send(Say(str(n)))
        socket.drop()
        await socket.gone()
        assert await code == 1000
    assert got == [f'{{"type":"message","data":"{n}"}}' for n in range(100)]
    assert heard.endings == [], "who dropped it is told nothing"


async def test_a_server_that_takes_nothing_does_not_hold_the_leaving() -> None:
    over = asyncio.Event()

    async def handler(_: ServerConnection) -> None:
        await over.wait()

    async with connected(handler) as (socket, _):
        for _ in range(400):
            socket.send(Say("x" * 60_000))  # more than any socket holds
        await asyncio.sleep(0)
        socket.drop()
        began = asyncio.get_running_loop().time()
        await socket.gone()
        over.set()
        assert asyncio.get_running_loop().time() - began < 2 * GOODBYE_S


async def test_leaving_waits_for_a_server_that_is_slow() -> None:
    read, over = asyncio.Event(), asyncio.Event()
    got = 0

    async def handler(connection: ServerConnection) -> None:
        nonlocal got
        await read.wait()
        async for _ in connection:
            got += 1
        over.set()

    async with connected(handler) as (socket, _):
        for _ in range(400):
            socket.send(Say("x" * 60_000))  # more than any socket holds
        await asyncio.sleep(0)
        socket.drop()
        asyncio.get_running_loop().call_later(0.1, read.set)
        await socket.gone()
        await over.wait()
    assert got == 400


async def test_what_comes_after_it_was_dropped_is_not_told() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        for _ in range(10):
            await connection.send('{"type":"pong"}')
        await connection.wait_closed()

    async with connected(handler) as (socket, heard):
        heard.first = socket.drop
        socket.send(Ping())
        await socket.gone()
        assert (len(heard.frames), heard.endings) == (1, [])


@pytest.mark.parametrize(
    "said", ["[]", "{}", '{"type":', '{"type":"session"}', '{"type":1}', b"\xff", '{"x":' + "[" * 100_000]
)
async def test_what_is_no_frame_ends_the_connection(said: str | bytes) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send('{"type":"hologram"}')
        await connection.send('{"type":"pong"}')
        await connection.send(said)
        await connection.wait_closed()

    async with connected(handler) as (_, heard):
        await heard.over.wait()
        assert heard.frames == [Pong()]
        (ending,) = heard.endings
        assert ending.code == 1006
        assert "expected a frame of the protocol" in ending.reason


async def test_the_close_code_and_its_reason_are_told() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.close(4503, "shutting_down")

    async with connected(handler) as (_, heard):
        await heard.over.wait()
        assert heard.endings == [Ending(4503, "shutting_down")]


async def test_a_connection_that_is_cut_is_lost() -> None:
    async def handler(connection: ServerConnection) -> None:
        connection.transport.abort()
        await asyncio.sleep(0)

    async with connected(handler) as (_, heard):
        await heard.over.wait()
        assert [ending.code for ending in heard.endings] == [1006]


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("https://example.org/agent/", "wss://example.org/agent/ws"),
        ("wss://example.org/agent/ws?x=1#y", "wss://example.org/agent/ws"),
        ("HTTP://[::1]:8000", "ws://[::1]:8000/ws"),
    ],
)
def test_where_the_websocket_is(url: str, where: str) -> None:
    assert address(url) == where
