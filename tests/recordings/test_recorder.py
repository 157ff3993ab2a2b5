"""The proxy that records, between real clients and the real server: it changes nothing, and misses nothing."""

import asyncio
import json
import re
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import msgspec
import pytest
from live import serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol
from wire import DEADLINE_S, NDJSON, STREAM, Net, RawWebSocket, eventually

from agent_ws import Limits
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.recording import LOST, Closed, File, FromClient, FromServer, Opened, Recording, Refused, read
from agent_ws.recordings import Proxy, Url
from agent_ws.server.tokens import fresh


class Recorded:
    """A proxy that records, and its file."""

    def __init__(self, proxy: Proxy, path: Path, told: list[str]) -> None:
        self.proxy = proxy
        self.told = told
        self.url = f"ws://localhost:{proxy.port}/ws"
        self._path = path

    def read(self) -> Recording:
        return read(self._path)

    def text(self) -> str:
        return self._path.read_text()

    async def closed(self, c: int) -> Closed:
        """The line that tells of a connection's end."""

        def found() -> list[Closed]:
            return [line for line in self.read().lines if isinstance(line, Closed) and line.c == c]

        await eventually(lambda: bool(found()))
        return found()[0]

    def connect(self, *subprotocols: str, **more: Any) -> connect:
        names = [Subprotocol(name) for name in subprotocols] or None
        return connect(self.url, subprotocols=names, proxy=None, open_timeout=DEADLINE_S, **more)


Record = Callable[[int], AbstractAsyncContextManager[Recorded]]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Records what a server on a port is asked."""

    @asynccontextmanager
    async def recording(port: int) -> AsyncGenerator[Recorded]:
        told: list[str] = []
        with File(tmp_path / "r.ndjson", "proxy", 1.5) as file:
            async with Proxy(Url("127.0.0.1", port), file, told.append, host="127.0.0.1", port=0) as proxy:
                yield Recorded(proxy, tmp_path / "r.ndjson", told)

    return recording


async def until(socket: ClientConnection, *kinds: str) -> list[str | bytes]:
    """All that comes, up to the first frame of one of these types."""
    messages: list[str | bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        while True:
            messages.append(await socket.recv())
            if decoded(messages[-1])["type"] in kinds:
                return messages


def decoded(message: str | bytes) -> dict[str, Any]:
    return json.loads(message) if isinstance(message, str) else msgspec.msgpack.decode(message)


@pytest.mark.parametrize("subprotocol", ["agent-ws.v1.json", "agent-ws.v1.msgpack"])
async def test_what_was_said_is_there_byte_by_byte_but_the_token(record: Record, subprotocol: str) -> None:
    binary = subprotocol.endswith("msgpack")

    def said(**frame: Any) -> str | bytes:
        return msgspec.msgpack.encode(frame) if binary else json.dumps(frame)

    async with serving(Scripted(["Hello ", "wörld\n"])) as site, record(site.port) as recorded:
        sent = [said(type="hello"), said(type="message", data="hi", id="c1")]
        async with recorded.connect(subprotocol) as socket:
            assert socket.subprotocol == subprotocol
            for message in sent:
                await socket.send(message)
            got = await until(socket, "settled")
            if "accepted" not in [decoded(message)["type"] for message in got]:
                got += await until(socket, "accepted")
        assert (await recorded.closed(1)).by == "client"
    recording = recorded.read()
    opened = recording.lines[0]
    assert isinstance(opened, Opened)
    assert (opened.path, opened.subprotocol, opened.binary) == ("/ws", subprotocol, binary)
    of_client = [line.message(binary=binary) for line in recording.lines if isinstance(line, FromClient)]
    of_server = [line.message(binary=binary) for line in recording.lines if isinstance(line, FromServer)]
    assert of_client == sent
    assert of_server[1:] == got[1:]
    token: str = decoded(got[0])["token"]
    assert decoded(of_server[0]) == decoded(got[0]) | {"token": decoded(of_server[0])["token"]}
    assert token not in recorded.text()
    assert all(line.frame for line in recording.lines if isinstance(line, FromClient | FromServer)), "it can be read"


async def test_whoever_comes_back_does_so_by_the_name_of_the_token(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        async with recorded.connect() as socket:
            await socket.send('{"type":"hello"}')
            session = decoded((await until(socket, "session"))[-1])
        back = {"type": "hello", "session": session["session"], "token": session["token"]}
        async with recorded.connect() as socket:
            await socket.send(json.dumps(back))
            assert decoded((await until(socket, "session"))[-1])["session"] == session["session"]
        await recorded.closed(2)
    lines = recorded.read().lines
    given = next(line.value for line in lines if isinstance(line, FromServer))["token"]
    shown = next(line.value for line in lines if isinstance(line, FromClient) and line.c == 2)["token"]
    assert given == shown
    assert re.fullmatch(r"secret-\d", given)


async def test_an_interrupt_stands_before_what_it_did(record: Record) -> None:
    gate = Gate()
    async with serving(Scripted(["Hello ", gate, "never"])) as site, record(site.port) as recorded:
        async with recorded.connect() as socket:
            await socket.send('{"message":"hi"}')
            await until(socket, "content")
            await socket.send('{"type":"interrupt"}')
            await until(socket, "settled")
        await recorded.closed(1)
    kinds = [line.value.get("type") for line in recorded.read().lines if isinstance(line, FromClient | FromServer)]
    assert kinds.index("content") < kinds.index("interrupt")
    assert kinds.index("interrupt") < kinds.index("interrupted")


async def test_fragments_are_one_message(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        raw = await Net(recorded.proxy.port).websocket()
        fragment(raw, 1, b'{"type":', fin=False)
        fragment(raw, 9, b"beat", fin=True)
        assert await raw.receive() == (10, b"beat")
        fragment(raw, 0, b'"hello"}', fin=True)
        await raw.until("session")
        raw.cut()
        closed = await recorded.closed(1)
        assert (closed.by, closed.code) == ("client", LOST)
    [line] = [line for line in recorded.read().lines if isinstance(line, FromClient)]
    assert line.message(binary=False) == '{"type":"hello"}'


def fragment(raw: RawWebSocket, opcode: int, data: bytes, *, fin: bool) -> None:
    raw.writer.write(bytes([0x80 * fin | opcode, 0x80 | len(data)]) + bytes(4) + data)


async def test_a_close_of_the_servers_is_told_with_its_reason(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        async with recorded.connect() as socket:
            await socket.send('{"type":"hello"}')
            await socket.send('{"type":"hello"}')
            await socket.wait_closed()
            assert (socket.close_code, socket.close_reason) == (4409, "conflict")
        closed = await recorded.closed(1)
    assert (closed.by, closed.code, closed.reason) == ("server", 4409, "conflict")


@pytest.mark.parametrize("by", ["client", "reset", "server"])
async def test_a_connection_that_is_cut_is_cut_on_the_other_side_too(record: Record, by: str) -> None:
    async with serving(Scripted(["Hi.", Gate()])) as site, record(site.port) as recorded:
        raw = await Net(recorded.proxy.port).websocket()
        raw.send('{"message":"hi"}')
        await raw.until("content")
        if by == "reset":
            linger = struct.pack("ii", 1, 0)  # what a close becomes that is to linger for no time
            raw.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, linger)
        if by != "server":
            raw.cut()
        else:
            for connection in tuple(site.server.server_state.connections):
                getattr(connection, "transport").abort()  # noqa: B009 - it has no type
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await raw.until("never")
            raw.cut()
        closed = await recorded.closed(1)
        assert (closed.by, closed.code) == (by.replace("reset", "client"), LOST)
        await eventually(lambda: not site.server.server_state.connections)


async def test_a_handshake_that_is_refused_is_told_without_its_secret(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        recorded.url += "?token=canary"
        with pytest.raises(InvalidStatus) as refused:
            async with recorded.connect():
                pass
        assert refused.value.response.status_code == 400
        assert recorded.read().lines[0] == Refused(recorded.read().lines[0].t, 1, "/ws?token=secret-1", 400)


async def test_a_login_passes_and_is_not_in_the_recording(record: Record, tmp_path: Path) -> None:
    token, line = fresh("alice", None)
    (tmp_path / "tokens").write_text(line + "\n")
    async with serving(Scripted(["Hi."]), tokens=str(tmp_path / "tokens")) as site, record(site.port) as recorded:
        login = {"Authorization": f"Bearer {token}"}
        async with recorded.connect(additional_headers=login) as socket:
            await socket.send(json.dumps({"message": f"My token is {token}."}))
            await until(socket, "session")
        net = Net(recorded.proxy.port)
        response = await net.post("/api/agent/ticket", None, login)
        assert response.status == 200
        ticket = (await response.json())["ticket"]
        async with recorded.connect("agent-ws.v1.json", f"agent-ws.ticket.{ticket}") as socket:
            await socket.send('{"type":"hello"}')
            await until(socket, "session")
        await recorded.closed(2)
        net.close()
    assert token not in recorded.text()
    assert ticket not in recorded.text()


async def test_the_page_and_streams_over_http_pass(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        net = Net(recorded.proxy.port)
        page = await net.get("/")
        assert (page.status, page.header("connection")) == (200, "close"), "the next request has a head of its own"
        assert b"<html" in await page.body()
        stream = await net.post(STREAM, {"message": "hi"}, NDJSON)
        kinds = [frame["type"] async for frame in stream.lines()]
        assert kinds[-1] == "end"
        assert recorded.read().lines == ()
        assert recorded.told == [f"{STREAM} is asked by HTTP: that passes, and is not recorded"]
        net.close()


@pytest.mark.parametrize(
    ("origin", "status"), [("http://localhost:{}", 101), ("http://evil.example", 403), ("http://localhost:1", 403)]
)
async def test_a_foreign_page_is_refused_as_ever(record: Record, origin: str, status: int) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        net = Net(recorded.proxy.port)
        _, response = await net.shake_hands({"origin": origin.format(recorded.proxy.port)})
        assert response.status == status
        net.close()


async def test_compression_is_not_agreed_on(record: Record) -> None:
    async with (
        serving(Scripted(["Hi."])) as site,
        record(site.port) as recorded,
        recorded.connect(compression="deflate") as socket,
    ):
        assert not socket.protocol.extensions
        await socket.send('{"type":"hello"}')
        await until(socket, "session")


async def test_a_server_that_compresses_is_not_asked_to(record: Record) -> None:
    async def greet(socket: ServerConnection) -> None:
        await socket.send('{"type":"session"}')

    async with (
        serve(greet, "127.0.0.1", 0, compression="deflate") as server,
        record(next(iter(server.sockets)).getsockname()[1]) as recorded,
    ):
        async with recorded.connect(compression="deflate") as socket:
            assert await socket.recv() == '{"type":"session"}'
            await recorded.closed(1)
        assert recorded.told == []
        assert isinstance(recorded.read().lines[1], FromServer)


async def test_a_server_that_is_not_there_is_told(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site:
        port = site.port
    async with record(port) as recorded:
        with pytest.raises(InvalidStatus) as refused:
            async with recorded.connect():
                pass
        assert refused.value.response.status_code == 502
        assert [type(line) for line in recorded.read().lines] == [Refused]
        assert "can't be reached" in recorded.told[0]


async def test_a_head_without_end_is_answered(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        net = Net(recorded.proxy.port)
        response = await net.get("/", {"x": "x" * 300_000})
        assert response.status == 431
        net.close()


async def test_what_is_no_websocket_passes_and_is_told_of(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        raw = await Net(recorded.proxy.port).websocket()
        raw.writer.write(b"\x8f\x80\0\0\0\0")  # opcode 15
        assert await raw.close_code() == 1002
        await eventually(lambda: bool(recorded.told))
        assert "connection 1 is no WebSocket any more" in recorded.told[0]
        raw.cut()


async def test_a_big_message_is_recorded_whole(record: Record) -> None:
    text = "x" * 300_000
    async with (
        serving(Scripted(["Hi."]), limits=Limits(message_bytes=2**20)) as site,
        record(site.port) as recorded,
        recorded.connect() as socket,
    ):
        await socket.send(json.dumps({"message": text}))
        await until(socket, "settled")
        [line] = [line for line in recorded.read().lines if isinstance(line, FromClient)]
        assert line.value == {"message": text}


async def test_a_full_disk_ends_the_recording_and_not_the_conversation(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, __: object) -> None:
        raise OSError(28, "No space left on device")

    async with serving(Scripted(["Hi."])) as site, record(site.port) as recorded:
        monkeypatch.setattr(File, "add", full)
        async with recorded.connect() as socket:
            await socket.send('{"message":"hi"}')
            await until(socket, "settled")
        assert recorded.proxy.notes.broken
        assert len(recorded.told) == 1
        assert "No space left on device" in recorded.told[0]


async def test_the_end_of_the_recorder_is_nobodys_close(record: Record) -> None:
    async with serving(Scripted(["Hi."])) as site:
        async with record(site.port) as recorded:
            socket = await recorded.connect()
            await socket.send('{"type":"hello"}')
            await until(socket, "session")
        await socket.wait_closed()
        assert socket.close_code == LOST
    assert not [line for line in recorded.read().lines if isinstance(line, Closed)]
