"""Recorded from the real server and played to real clients: the same frames, byte by byte."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from talking import Person, dial, talk
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol
from wire import DEADLINE_S, Net

from agent_ws.recording import Closed, File, FromClient, FromServer, Opened, Recording, read
from agent_ws.recordings import Replay

Play = Callable[..., AbstractAsyncContextManager[Replay]]


@pytest.fixture
def play() -> Play:
    """Plays a recording; `told` gets what people are told."""

    @asynccontextmanager
    async def playing(recording: Recording, told: list[str], speed: float = math.inf) -> AsyncGenerator[Replay]:
        async with Replay(recording, told.append, speed=speed, host="127.0.0.1", port=0) as replay:
            yield replay

    return playing


async def played_again(recording: Recording, port: int) -> dict[int, list[str | bytes]]:
    """Do what the recorded clients did, each as soon as it has what that one had. Returns what each got."""
    got: dict[int, list[str | bytes]] = {}
    sockets: dict[int, ClientConnection] = {}
    async with AsyncExitStack() as stack, asyncio.timeout(DEADLINE_S):
        for line in recording.lines:
            match line:
                case Opened():
                    names = [Subprotocol(line.subprotocol)] if line.subprotocol else None
                    url = f"ws://localhost:{port}{line.path}"
                    sockets[line.c] = await stack.enter_async_context(connect(url, subprotocols=names, proxy=None))
                    assert (sockets[line.c].subprotocol or "") == line.subprotocol
                    got[line.c] = []
                case FromClient():
                    await sockets[line.c].send(line.message(binary=recording.connections[line.c].binary))
                case FromServer():
                    got[line.c].append(await sockets[line.c].recv())
                case Closed(by="server", code=code, reason=reason):
                    await sockets[line.c].wait_closed()
                    assert (sockets[line.c].close_code, sockets[line.c].close_reason) == (code, reason)
                case _:
                    await sockets[line.c].close()
    return got


@pytest.mark.parametrize("speed", [math.inf, 4.0])
async def test_a_recorded_session_is_played_byte_by_byte(recording: Recording, play: Play, speed: float) -> None:
    told: list[str] = []
    async with play(recording, told, speed) as replay:
        got = await played_again(recording, replay.port)
        await asyncio.wait_for(replay.played.wait(), DEADLINE_S)
        assert told == []
    kinds = [line.value["type"] for line in recording.lines if isinstance(line, FromServer)]
    assert {"thinking", "tool_start", "request", "resolved", "interrupted", "rejected", "pong"} <= {*kinds}
    for c, opened in recording.connections.items():
        lines = [line for line in recording.lines if isinstance(line, FromServer) and line.c == c]
        assert got[c] == [line.message(binary=opened.binary) for line in lines]


async def test_it_is_played_again_to_who_comes_next(recording: Recording, play: Play) -> None:
    told: list[str] = []
    async with play(recording, told) as replay:
        first = await played_again(recording, replay.port)
        assert await played_again(recording, replay.port) == first
        assert told == []


async def test_a_client_that_knows_nothing_of_it_gets_along(recording: Recording, play: Play) -> None:
    """The same person, with fresh names, other moments, and no care for what was recorded."""
    told: list[str] = []
    async with play(recording, told) as replay:
        await talk(replay.port)
        assert told == []


async def test_who_departs_is_told_what_was_expected(recording: Recording, play: Play) -> None:
    told: list[str] = []
    async with play(recording, told) as replay, dial(replay.port) as socket:
        person = Person(socket)
        await person.send(type="hello")
        await person.send(type="message", data="something else")
        error = await person.until("error")
        assert error["message"].startswith("This is a recording: expected {")
        assert 'got {"type":"message","data":"something else"}' in error["message"]
    assert "r.ndjson, line" in told[0]


async def test_a_recording_is_not_for_pages_of_other_sites(recording: Recording, play: Play) -> None:
    async with play(recording, []) as replay:
        net = Net(replay.port)
        own = f"localhost:{replay.port}"
        for fields, status in (
            ({"host": own, "origin": f"http://{own}"}, 101),
            ({"host": "192.168.1.2:80"}, 101),
            ({"host": "[::1]"}, 101),
            ({"host": own, "origin": "http://evil.example"}, 403),
            ({"host": ""}, 403),
            ({"host": "evil.example", "origin": "http://evil.example"}, 403),
            ({"host": f"evil.example:{replay.port}"}, 403),
        ):
            _, response = await net.shake_hands(fields)
            assert response.status == status, fields
        net.close()


async def test_the_page_is_there_and_nothing_else(recording: Recording, play: Play) -> None:
    async with play(recording, []) as replay:
        net = Net(replay.port)
        page = await net.get("/")
        assert (page.status, page.header("content-type")) == (200, "text/html")
        assert b"<html" in await page.body()
        assert "default-src" in page.header("content-security-policy")
        listed = await net.get("/api/agent/sessions?limit=50")
        assert (listed.status, await listed.json()) == (200, {"sessions": []})
        for path in (
            "/../recording.py",
            "/assets/../../recording.py",
            "/assets/%2e%2e/x",
            "/api/agent/stream",
            "/assets",
            "//etc/passwd",
        ):
            assert (await net.get(path)).status == 404, path
        net.close()


async def test_an_unknown_subprotocol_is_refused(recording: Recording, play: Play) -> None:
    async with play(recording, []) as replay:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(replay.port, "graphql-ws"):
                pass
        assert refused.value.response.status_code == 400


async def test_a_client_that_does_not_read_holds_nobody_up(tmp_path: Path, play: Play) -> None:
    """Nor the end."""
    with File(tmp_path / "big.ndjson", "proxy", 1.5) as file:
        file.add([Opened(0, c, "/ws") for c in (1, 2)])
        big = msgspec.Raw(json.dumps({"type": "content", "data": "x" * 10_000}).encode())
        file.add([FromServer(0, 1, big)] * 2000)
        file.add([FromServer(0, 2, big)])
    async with play(read(tmp_path / "big.ndjson"), []) as replay:
        net = Net(replay.port)
        slow, _ = await net.shake_hands(receive_buffer=4096)
        async with dial(replay.port) as socket:
            async with asyncio.timeout(DEADLINE_S):
                assert len(await socket.recv()) > 10_000
        slow.cut()


async def test_a_connection_that_the_server_lost_is_lost_again(tmp_path: Path, play: Play) -> None:
    with File(tmp_path / "r", "proxy", 1.5) as file:
        file.add([Opened(0, 1, "/ws"), Closed(0, 1, "server", 1006)])
    async with play(read(tmp_path / "r"), []) as replay, dial(replay.port) as socket:
        await asyncio.wait_for(socket.wait_closed(), DEADLINE_S)
        assert (socket.close_code, socket.protocol.close_rcvd) == (1006, None)
