"""What a scripted client really does to a connection, as a peer sees it that is written by hand; and what it says of
servers that don't keep to the protocol.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from agent_ws.scenarios.files import parse
from agent_ws.scenarios.player import Outcome, play
from agent_ws.scenarios.stage import Target

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SESSION = {"type": "session", "session": "s", "epoch": "e", "after": 0, "resumed": False, "token": "t"}
LIMITS = {"limits": {"message_bytes": 1000, "queued": 8}}
DEADLINE_S = 10.0


@asynccontextmanager
async def peer(serve: Serve) -> AsyncGenerator[str]:
    """A server of one connection after the other. Its URL."""

    async def serves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # a client that is done resets
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serves, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def shaken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shake hands (RFC 6455, 4.2.2)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(": ")[1] for line in head.splitlines() if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())  # noqa: S324 - the standard's
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def frame(*bodies: Any) -> bytes:
    """Text messages, unmasked."""
    made = b""
    for body in bodies:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        made += bytes([0x81, 126]) + len(data).to_bytes(2, "big") + data
    return made


async def played(steps: str, url: str) -> Outcome:
    (script,) = parse(f"scenario: a\nwithin: 1\nsteps:\n{steps}")
    return await play(script, Target(url=url))


@pytest.mark.parametrize(("how", "seen"), [("reset", "reset"), ("close", "closing frame"), ("half_open", "nothing")])
async def test_a_drop_is_what_it_is_called(how: str, seen: str) -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shaken(reader, writer)
        writer.write(frame(SESSION | LIMITS))
        await reader.read(1000)  # hello
        try:
            async with asyncio.timeout(0.5):
                data = await reader.read(1000)
        except ConnectionResetError:
            told.set_result("reset")
        except TimeoutError:
            writer.write(bytes([0x89, 0]))  # a ping: who is half open doesn't answer
            try:
                async with asyncio.timeout(0.3):
                    told.set_result(repr(await reader.read(1000)))
            except TimeoutError:
                told.set_result("nothing")
        else:
            told.set_result("closing frame" if data[:1] == b"\x88" else repr(data))
            writer.write(bytes([0x88, 2, 0x03, 0xE8]))

    async with peer(serve) as url, asyncio.timeout(DEADLINE_S):
        await played(f"- connect:\n- drop: {how}\n- sleep: {1.2 if how == 'half_open' else 0}", url)
        assert await told == seen


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ([b"nonsense"], "expected JSON or MessagePack, got 'nonsense'"),
        ([["a", "list"]], "expected a frame with a type"),
        ([{"type": "pong", "data": 7}], "expected a frame of the protocol, got one that is not"),
        ([{"type": "content", "seq": 2, "run": "r"}], "expected a frame of the protocol, got one that is not"),
        ([{"type": "start", "seq": 2, "run": "r", "at": 1.0}], "got a gap"),
        (
            [{"type": "user", "seq": 1, "run": "r", "id": "i", "data": "x", "at": 1.0}] * 2,
            "expected a frame behind Cursor",
        ),
        ([{"type": "start", "seq": 1, "run": "r", "at": 1.0}], "expected one start, after the message"),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_told(frames: list[Any], told: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shaken(reader, writer)
        writer.write(frame(SESSION | LIMITS, *frames))
        await reader.read()

    async with peer(serve) as url:
        outcome = await played("- connect:\n- sleep: 0.2\n- sleep: 0", url)
    assert outcome.failure is not None
    assert told in outcome.failure.message


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"220 smtp.example ESMTP\r\n\r\n")


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (silent, "expected a handshake within 1 s, got none"),
        (rude, "expected a WebSocket handshake of ws:"),
        (gone, "expected a WebSocket handshake of ws:"),
    ],
    ids=["silent", "rude", "gone"],
)
async def test_what_is_no_websocket_is_told(serve: Serve, told: str) -> None:
    async with peer(serve) as url:
        outcome = await played("- connect:", url)
    assert outcome.failure is not None
    assert told in outcome.failure.message


@pytest.mark.parametrize("serve", [rude, gone], ids=["rude", "gone"])
async def test_what_is_no_http_is_told(serve: Serve) -> None:
    async with peer(serve) as url:
        for steps in ("- request: GET /healthz", "- stream:\n  body: {message: Hi}"):
            outcome = await played(steps, url)
            assert outcome.failure is not None
            assert "expected" in outcome.failure.message
