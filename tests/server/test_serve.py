"""What `serve.py` takes from uvicorn's insides, and what it does with clients that don't read."""

import ast
import asyncio
import contextlib
import gc
import inspect
import json
import re
import socket
import struct
from typing import Any

import pytest
import uvicorn
import websockets.version
from live import MakeSite, Site, gateway_of
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request
from websockets.server import ServerProtocol
from wire import DEADLINE_S, NDJSON, STREAM, eventually

from agent_ws import Settings, Timeouts, Turn
from agent_ws.agents.scripted import Scripted
from agent_ws.server.app import build_app
from agent_ws.server.outlet import PUSH
from agent_ws.server.protocols import SLOW_CLIENT, StallingHttp, StallingWebSocket
from agent_ws.server.serve import GC_LEFT, GC_THRESHOLDS, Server, make_server, room

SHARED = 30
"""Attributes for which instances share the keys of their dicts (CPython's `SHARED_KEYS_MAX_SIZE`)."""

# What is used of uvicorn


def test_the_versions_whose_insides_were_read() -> None:
    """A newer one may work: read what the tests below name, then raise the bound."""
    assert re.match(r"0\.5[4-9]\.", uvicorn.__version__)
    assert re.match(r"1[67]\.", websockets.version.version)


class Pipe(asyncio.Transport):
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.written = b""
        self.ended = ""

    def get_write_buffer_size(self) -> int:
        return self.left

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _NoSocket() if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class _NoSocket:
    """A socket of which the system tells nothing."""

    family = socket.AF_INET

    def fileno(self) -> int:
        raise OSError

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 80)

    getpeername = getsockname


def config_of(stall: float = 5.0) -> uvicorn.Config:
    server = make_server(Scripted([]), Settings(timeouts=Timeouts(stall=stall, hello=1e6)), host="127.0.0.1", port=0)
    server.config.load()
    return server.config


def websocket_protocol(stall: float = 5.0) -> tuple[StallingWebSocket, Pipe]:
    protocol = StallingWebSocket(config_of(stall), ServerState(), {})
    pipe = Pipe()
    protocol.connection_made(pipe)
    return protocol, pipe


def http_protocol(stall: float = 5.0) -> tuple[StallingHttp, Pipe]:
    protocol = StallingHttp(config_of(stall), ServerState(), {})
    pipe = Pipe()
    protocol.connection_made(pipe)
    return protocol, pipe


async def test_the_websocket_protocol_has_what_we_use_of_it() -> None:
    protocol, pipe = websocket_protocol()
    assert protocol.transport is pipe
    assert protocol.loop is asyncio.get_running_loop()
    assert isinstance(protocol.conn, ServerProtocol)
    theirs = WebSocketsSansIOProtocol(config_of(), ServerState(), {})
    assert isinstance(theirs.queue, asyncio.Queue)
    assert isinstance(theirs.writable, asyncio.Event)
    for source in (WebSocketsSansIOProtocol, StallingWebSocket):
        for ours, has in (("queue", {"put_nowait", "get", "empty"}), ("writable", {"set", "clear", "wait"})):
            used = set(re.findall(rf"self\.{ours}\.(\w+)", inspect.getsource(source)))
            assert used <= has, "all that ours has"
    assert protocol.handshake_complete is False
    assert protocol.close_sent is False
    await protocol.writable.wait()
    for free in (protocol.resume_writing, lambda: protocol.connection_lost(None)):
        waiting: list[asyncio.Task[Any]] = []
        for _ in range(2):
            protocol.pause_writing()  # as often as it likes
            waiting.append(asyncio.create_task(protocol.writable.wait()))  # what holds `send` meanwhile
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        free()
        await asyncio.gather(*waiting)
        await protocol.writable.wait()
    assert protocol.disconnected
    with pytest.raises(ClientDisconnected):
        await protocol.send({"type": "websocket.send", "text": "x"})
    assert issubclass(ClientDisconnected, OSError)


async def test_a_websocket_holds_no_more_than_it_needs() -> None:
    """Each of these is a KiB or two for each client that is idle."""
    protocol, _ = await opened()
    gc.collect()
    assert not [it for it in gc.get_objects() if isinstance(it, Request)], "nobody asks for the handshake any more"
    come_and_go = {"request", "response", "_full", "_left", "_seat", "_stall"}
    assert len(vars(protocol).keys() | come_and_go) <= SHARED, "else its attributes have a dict of their own"
    protocol.data_received(b"\x81\x82\0\0\0\0hi")
    assert await protocol.queue.get() == {"type": "websocket.receive", "text": "hi"}
    await ended(protocol)


async def test_frames_may_come_in_one_piece_with_the_handshake() -> None:
    text = b"\x81\x82\0\0\0\0hi"
    for cut in range(len(text) + 1):
        protocol, _ = await opened(behind=text[:cut])
        protocol.data_received(text[cut:])
        assert await protocol.queue.get() == {"type": "websocket.receive", "text": "hi"}
        await ended(protocol)


async def test_a_close_is_sent_as_uvicorn_sends_it() -> None:
    """Ours must leave the protocol as its own does, so both are looked at."""
    source = inspect.getsource(WebSocketsSansIOProtocol.send)
    close = source[source.index('message["type"] == "websocket.close":\n                    if not') :]
    for part in ("self.queue.put_nowait(", "self.conn.send_close(code, reason)", "self.close_sent = True"):
        assert part in close
    assert "if self.close_sent:" in inspect.getsource(WebSocketsSansIOProtocol.handle_close)
    assert "if self.close_sent:" in inspect.getsource(WebSocketsSansIOProtocol.shutdown)


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
)


async def opened(offers: bytes = b"", **options: Any) -> tuple[StallingWebSocket, Pipe]:
    """A protocol behind its handshake, with an application that only accepts."""
    config = config_of()
    config.ws_per_message_deflate = options.get("deflate", False)

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.Event().wait()

    config.loaded_app = app
    protocol = StallingWebSocket(config, ServerState(), {})
    pipe = Pipe()
    protocol.connection_made(pipe)
    protocol.data_received(HANDSHAKE % offers + options.get("behind", b""))
    await eventually(lambda: protocol.handshake_complete)
    pipe.written = b""
    return protocol, pipe


async def ended(protocol: StallingWebSocket) -> None:
    for task in tuple(protocol.tasks):
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)
    protocol.stop_keepalive()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
async def test_what_is_pushed_is_what_the_library_would_have_sent(size: int, *, binary: bool) -> None:
    protocol, pipe = await opened()
    assert protocol.push([b"x" * size], binary)
    pushed, pipe.written = pipe.written, b""
    if binary:
        await protocol.send({"type": "websocket.send", "bytes": b"x" * size})
    else:
        await protocol.send({"type": "websocket.send", "text": "x" * size})
    assert pushed == pipe.written
    await ended(protocol)


async def test_messages_that_are_pushed_together_are_those_messages() -> None:
    protocol, pipe = await opened()
    for data in (b"a", b"b" * 126, b""):
        assert protocol.push([data], binary=False)
    alone, pipe.written = pipe.written, b""
    assert protocol.push([b"a", b"b" * 126, b""], binary=False)
    assert pipe.written == alone
    await ended(protocol)


async def test_nothing_is_pushed_where_the_library_would_not_send() -> None:
    protocol, pipe = await opened()
    protocol.pause_writing()
    assert not protocol.push([b"full"], binary=False)
    protocol.resume_writing()
    assert protocol.push([b"x"], binary=False)
    pipe.ended = "closed"
    assert not protocol.push([b"closing"], binary=False)
    pipe.ended = ""
    await protocol.send({"type": "websocket.close", "code": 1000})
    assert not protocol.push([b"closed"], binary=False)
    protocol.connection_lost(None)
    assert pipe.written.count(b"x") == 1
    await ended(protocol)

    lost, _ = await opened()
    lost.connection_lost(None)
    assert not lost.push([b"lost"], binary=False)
    await ended(lost)

    asked, _ = await opened()
    asked.data_received(b"\x88\x80\x00\x00\x00\x00")
    assert not asked.push([b"the client has closed"], binary=False)
    await ended(asked)


async def test_pushing_is_offered_only_where_no_extension_was_agreed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    plain, _ = await opened(offer)
    assert plain.scope.get("extensions", {})[PUSH] == plain.push
    deflating, _ = await opened(offer, deflate=True)
    assert deflating.conn.extensions
    assert PUSH not in deflating.scope.get("extensions", {})
    monkeypatch.setattr("agent_ws.server.protocols.PUSHES", False)
    unknown, _ = await opened()
    assert PUSH not in unknown.scope.get("extensions", {}), "a version that it was not tried with"
    for protocol in (plain, deflating, unknown):
        await ended(protocol)


async def test_the_http_protocol_has_what_we_use_of_it() -> None:
    protocol, pipe = http_protocol()
    assert protocol.transport is pipe
    assert protocol.loop is asyncio.get_running_loop()
    assert protocol.flow.write_paused is False
    protocol.pause_writing()
    assert protocol.flow.write_paused is True
    protocol.resume_writing()
    assert protocol.flow.write_paused is False
    protocol.pause_writing()
    protocol.connection_lost(None)
    assert protocol.flow.write_paused is False


def test_both_protocols_watch_before_uvicorn_does() -> None:
    for ours, theirs in ((StallingWebSocket, WebSocketsSansIOProtocol), (StallingHttp, HttpToolsProtocol)):
        for name in ("pause_writing", "resume_writing", "connection_lost"):
            assert getattr(ours, name) is not getattr(theirs, name)
            assert name in vars(theirs)  # what our super() reaches


def test_the_config_brings_our_protocols_and_limits() -> None:
    server = make_server(Scripted([]), Settings(), host="127.0.0.1", port=0)
    server.config.load()
    assert server.config.ws_protocol_class is StallingWebSocket
    assert server.config.http_protocol_class is StallingHttp
    assert server.config.ws_max_size == 65_536
    assert server.config.ws_per_message_deflate is False
    assert server.config.access_log is False
    assert server.config.app.state.gateway is gateway_of(server)  # pyright: ignore[reportFunctionMemberAccess, reportUnknownMemberType, reportAttributeAccessIssue]


def test_the_server_has_what_we_use_of_it() -> None:
    source = inspect.getsource(uvicorn.Server)
    assert "should_exit = await self.on_tick(counter)" in source  # where a drain begins
    assert "self._log_started_message(listeners)" in source
    assert "signal.signal(sig, self.handle_exit)" in source
    assert "self.should_exit" in inspect.getsource(uvicorn.Server.on_tick)
    assert "self._wait_tasks_to_complete()," in inspect.getsource(uvicorn.Server.shutdown)
    for name in ("handle_exit", "on_tick", "_log_started_message", "_wait_tasks_to_complete"):
        # What is written, not what is there: sse-starlette, which the tests' libraries bring, replaces one.
        theirs = next(node for node in ast.walk(ast.parse(source)) if getattr(node, "name", None) == name)
        assert isinstance(theirs, ast.FunctionDef | ast.AsyncFunctionDef)
        ours = inspect.signature(getattr(Server, name)).parameters
        assert list(ours) == [argument.arg for argument in theirs.args.args]


async def test_what_clients_leave_behind_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(Scripted([]), Settings(), host="127.0.0.1", port=0)
    server.config.load()
    collected: list[int] = []
    monkeypatch.setattr("agent_ws.server.serve.gc.collect", lambda: collected.append(gateway.left))
    gateway = gateway_of(server)
    stays = gateway.join(lambda _: None)
    for _ in range(2 * GC_LEFT):
        gateway.join(lambda _: None)()
        await server.on_tick(1)
    assert collected == [GC_LEFT, 2 * GC_LEFT]
    stays()


async def test_where_there_are_many_clients_so_many_have_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(Scripted([]), Settings(), host="127.0.0.1", port=0)
    server.config.load()
    collected: list[int] = []
    monkeypatch.setattr("agent_ws.server.serve.gc.collect", lambda: collected.append(gateway.left))
    gateway = gateway_of(server)
    there = [gateway.join(lambda _: None) for _ in range(3 * GC_LEFT)]
    for _ in range(3 * GC_LEFT):
        await server.on_tick(1)
        gateway.join(lambda _: None)()
    assert collected == []
    await server.on_tick(1)
    assert collected == [3 * GC_LEFT]
    for leave in there:
        leave()


async def test_the_collector_is_tuned_while_it_serves_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(Scripted([]), Settings(), host="127.0.0.1", port=0)
    before = gc.get_threshold()
    during: list[tuple[tuple[int, int, int], bool]] = []

    async def main_loop(_: uvicorn.Server) -> None:
        during.append((gc.get_threshold(), gc.get_freeze_count() > 0))

    monkeypatch.setattr(uvicorn.Server, "main_loop", main_loop)
    await server.main_loop()
    assert during == [(GC_THRESHOLDS, True)]
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


async def test_a_signal_drains_first_and_then_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """The one test that runs uvicorn's main loop."""
    server = make_server(Scripted(["Hi"]), Settings(), host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    site = Site(server, gateway_of(server))
    socket = await site.websocket()
    await eventually(lambda: site.gateway.door.lag.lateness.max > 0)  # it keeps house meanwhile
    server.handle_exit(15, None)
    async with asyncio.timeout(DEADLINE_S):
        assert await socket.close_code() == 4503
        site.close()
        await serving
    assert server.force_exit is False
    assert f"http://127.0.0.1:{site.port}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (1_024, 1_048_576, 10_000, 20_000),  # the usual one of Linux
        (1_024, 4_096, 2_048, 4_096),
        (256, -1, 10_000, 20_000),  # macOS
        (20_000, 20_000, 10_000, 20_000),
        (65_536, 65_536, 10_000, 65_536),
        (-1, -1, 10_000, -1),
        (1, 1, 1, 1),
    ],
)
def test_connections_fit_into_the_systems_limit(soft: int, hard: int, connections: int, raised: int) -> None:
    assert room(10_000, soft, hard) == (connections, raised)


# Clients that take nothing: the clock is virtual here


@pytest.mark.virtual
async def test_a_client_that_takes_nothing_is_cut_off_after_the_limit() -> None:
    protocol, pipe = http_protocol(stall=5)
    pipe.left = 1000
    protocol.pause_writing()
    await asyncio.sleep(4.9)
    assert pipe.ended == ""
    await asyncio.sleep(0.2)
    assert pipe.ended == "aborted"


@pytest.mark.virtual
async def test_a_client_that_takes_a_little_is_only_slow() -> None:
    for make in (http_protocol, websocket_protocol):
        protocol, pipe = make(5)
        pipe.left = 1000
        protocol.pause_writing()
        for _ in range(100):
            await asyncio.sleep(4.9)
            pipe.left -= 1
        assert pipe.ended == ""
        await asyncio.sleep(15)
        assert pipe.ended == "aborted"


@pytest.mark.virtual
async def test_a_client_that_has_taken_all_is_forgotten() -> None:
    for make in (http_protocol, websocket_protocol):
        for lost in (False, True):
            protocol, pipe = make(5)
            pipe.left = 1000
            protocol.pause_writing()
            await asyncio.sleep(4.9)
            if lost:
                protocol.connection_lost(None)
            else:
                protocol.resume_writing()
            ended = pipe.ended
            await asyncio.sleep(60)
            assert pipe.ended == ended != "aborted"


@pytest.mark.virtual
async def test_a_websocket_is_told_first_and_cut_off_if_it_takes_that_neither() -> None:
    protocol, pipe = websocket_protocol(stall=5)
    protocol.data_received(
        b"GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    for task in list(protocol.tasks):
        task.cancel()  # the application is not what is tested
    await protocol.send({"type": "websocket.accept"})
    protocol.stop_keepalive()
    pipe.written, pipe.left = b"", 1000
    protocol.pause_writing()
    await asyncio.sleep(5.1)
    close = struct.pack("!H", SLOW_CLIENT) + b"slow_client"
    assert pipe.written == bytes([0x88, len(close)]) + close
    assert pipe.ended == ""
    messages: list[Any] = []
    while not protocol.queue.empty():
        messages.append(await protocol.queue.get())
    assert messages[-1] == {"type": "websocket.disconnect", "code": 4504, "reason": "slow_client"}
    await asyncio.sleep(5)
    assert pipe.ended == "aborted"


# And on a real socket


async def flood(turn: Turn) -> None:
    """More than any socket buffer holds."""
    for _ in range(2000):
        turn.content("x" * 16_000)
        await asyncio.sleep(0)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, to the end or the cut."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(DEADLINE_S):
            while part := await reader.read(1 << 20):
                data += part
    return data


async def test_a_websocket_that_never_reads_is_told_4504_and_cut_off(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = await make_site(flood, timeouts=Timeouts(stall=0.1))
    socket = await site.websocket(receive_buffer=4096)
    socket.send(json.dumps({"message": "Hello"}))
    await socket.until("session")
    socket.send('{"type": "ping"}')  # its Stop would be heard all the same
    await eventually(lambda: "took nothing" in caplog.text)
    await eventually(lambda: not site.server.server_state.tasks)  # the writer is free, and nothing holds the server
    await eventually(lambda: not site.server.server_state.connections)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_websocket_that_reads_on_after_all_learns_why(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = await make_site(flood, timeouts=Timeouts(stall=0.4))
    socket = await site.websocket(receive_buffer=65_536)
    socket.send(json.dumps({"message": "Hello"}))
    await socket.until("session")
    await eventually(lambda: "took nothing" in caplog.text)
    assert await socket.close_code() == 4504


async def test_a_websocket_that_stalled_comes_back_and_lacks_nothing(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        for i in range(600):
            turn.content(f"{i:08}" * 2000)
            await asyncio.sleep(0)

    site = await make_site(agent, timeouts=Timeouts(stall=0.1))
    socket = await site.websocket(receive_buffer=4096)
    socket.send(json.dumps({"message": "Hello"}))
    session = await socket.until("session")
    first = await socket.until("content")
    await eventually(lambda: not site.server.server_state.connections)
    back = await site.websocket()
    cursor = {"epoch": session["epoch"], "after": first["seq"]}
    proof = {"session": session["session"], "token": session["token"]}
    back.send(json.dumps({"type": "hello", **proof, **cursor}))
    assert (await back.until("session"))["resumed"] is True
    text = first["data"]
    while (frame := await back.until("content", "done"))["type"] == "content":
        text += frame["data"]
    assert text == "".join(f"{i:08}" * 2000 for i in range(600))


@pytest.mark.parametrize("accept", ["text/event-stream", NDJSON["accept"]])
async def test_an_http_stream_that_never_reads_is_cut_off(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture, accept: str
) -> None:
    site = await make_site(flood, timeouts=Timeouts(stall=0.1))
    response = await site.request("POST", STREAM, {"message": "Hello"}, {"accept": accept}, receive_buffer=4096)
    assert response.status == 200
    await eventually(lambda: not site.server.server_state.connections)
    await eventually(lambda: not site.server.server_state.tasks)
    assert [record.getMessage() for record in caplog.records] == ["a client took nothing: closed (seconds=0.1)"]


async def test_what_a_slow_client_is_behind_stays_in_the_log_and_not_in_its_socket(make_site: MakeSite) -> None:
    """One piece of a stream is small, so what the server holds for a client is bounded however far it is behind."""
    site = await make_site(flood)
    first = await site.post(STREAM, {"message": "Hello"}, NDJSON)
    session = json.loads((await first.chunk()).splitlines()[0])
    core = await site.session(session)
    await eventually(lambda: not core.busy)
    first.cut()
    body = {"session": session["session"], "token": session["token"]}
    slow = await site.request("POST", STREAM, body, NDJSON, receive_buffer=4096)
    await eventually(lambda: any(c.transport.get_write_buffer_size() for c in site.server.server_state.connections))
    held = max(c.transport.get_write_buffer_size() for c in site.server.server_state.connections)
    assert held < 300_000
    slow.cut()


async def test_a_silent_websocket_holds_no_more_coroutines_than_it_needs(make_site: MakeSite) -> None:
    """Each is a quarter of a KiB for each client, and what Starlette's router holds beside them is 2 KiB."""
    site = await make_site(Scripted(["a"]))
    client = await site.websocket()
    client.send('{"type":"hello"}')
    await client.until("session")
    (task,) = site.server.server_state.tasks
    waits: Any = task.get_coro()
    held: list[str] = []
    while inspect.iscoroutine(waits):
        held.append(waits.__qualname__)
        waits = waits.cr_await
    assert held == [
        "WebSocketsSansIOProtocol.run_asgi",
        "Starlette.__call__",
        "ServerErrorMiddleware.__call__",
        "Doorkeeper.__call__",
        "Admission.__call__",
        "WebSocketEndpoint.__call__",
        "Client.serve",
        "Outlet.write",
        "Outlet._stir_awaited",
    ]
    timers = [it for it in gc.get_objects() if isinstance(it, asyncio.TimerHandle) and not it.cancelled()]
    assert not [it for it in timers if "Client._late" in repr(it)], "the time for its first frame is over"


async def test_the_app_alone_has_what_the_protocols_look_for() -> None:
    assert build_app(Scripted([]), Settings(timeouts=Timeouts(stall=3))).state.gateway.settings.timeouts.stall == 3
