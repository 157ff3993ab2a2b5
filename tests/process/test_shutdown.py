"""SIGTERM: who runs may finish, everybody is told, and the process ends within its limits whatever an agent does."""

import asyncio

import pytest
from processes import Open, Serve, Server, Tab
from websockets.exceptions import InvalidStatus

from agent_ws.events import Interrupted

LIMIT = 0.3 + 5 + 1
"""Of a shutdown: what `--drain` says in these tests, `timeouts.close` and `timeouts.grace`."""
BUSY_MACHINE = 3.0


async def test_an_answer_may_finish_while_idle_clients_go_and_nobody_comes(serve: Serve, open_tab: Open) -> None:
    server = await serve("asks", "--drain", "30")
    busy, idle = await open_tab(server), await open_tab(server)
    run = await busy.say("hi")
    request = await busy.until("request", run=run)
    server.terminate()
    assert await idle.closed() == 4503
    with pytest.raises(InvalidStatus) as refused:
        await Tab(server).connect()
    assert refused.value.response.status_code == 503
    await busy.send({"type": "message", "data": "and?", "id": "late"})
    assert (await busy.until("rejected"))["code"] == "shutting_down"
    await busy.send({"type": "reply", "request": request["request"], "data": "it did"})
    assert await busy.closed() == 4503
    assert busy.text(run) == "Before. After it did."
    assert busy.kinds(run)[-2:] == ["Done", "Settled"]
    assert await server.exit() == 0
    assert "Traceback" not in server.output


async def test_an_answer_without_end_is_interrupted_and_its_client_told(serve: Serve, open_tab: Open) -> None:
    server = await serve("endless")
    tab = await open_tab(server)
    run = await tab.say("go")
    server.terminate()
    assert await tab.closed() == 4503
    assert tab.kinds(run)[-2:] == ["Interrupted", "Settled"]
    assert [event.reason for event in tab.copy.events if isinstance(event, Interrupted)] == ["shutdown"]
    assert await server.exit() == 0

    # And it is on the disk as it was told.
    await tab.connect(await serve("echo"))
    assert tab.session["resumed"] is True
    next_run = await tab.say("hello")
    await tab.until("settled", run=next_run)
    assert tab.text(next_run) == "You said hello"
    assert "Error" not in tab.kinds(run)


async def test_no_agent_can_keep_the_process(serve: Serve, open_tab: Open) -> None:
    """All at once, because each takes its limit's time."""

    async def ends(agent: str, *, told: bool) -> int:
        server = await serve(agent, store="memory")
        tab = await open_tab(server)
        run = await tab.say("go")
        if agent == "blocking":
            request = await tab.until("request", run=run)
            await tab.send({"type": "reply", "request": request["request"], "data": "yes"})
            await server.says("blocking")
        else:
            await tab.until("content", run=run)
        server.terminate()
        ending = asyncio.create_task(server.exit(LIMIT + BUSY_MACHINE))
        code = await tab.closed()
        if told:
            assert (agent, code) == (agent, 4503)
            assert "Interrupted" in tab.kinds(run)
            assert "Still" not in tab.text(run)
        return await ending

    statuses = await asyncio.gather(
        ends("stubborn", told=True), ends("threaded", told=True), ends("blocking", told=False)
    )
    assert statuses == [0, 0, 1], "1: it was cut short, and somebody should know"


async def test_a_second_signal_ends_it_at_once(serve: Serve, open_tab: Open) -> None:
    server = await serve("endless", "--drain", "60")
    tab = await open_tab(server)
    await tab.say("go")
    server.terminate()
    await server.says("draining")
    server.terminate()
    assert await server.exit(BUSY_MACHINE) == 1, "it was no orderly end"
    assert await tab.closed() in (1006, 1012, 4503)


async def upgrade(port: int, frame: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket client that is a bare socket: shakes hands, sends one text frame, and need not read any more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(bytes((0x81, 0x80 | len(frame), 0, 0, 0, 0)) + frame)  # masked with zeros
    return reader, writer


async def test_a_client_that_never_reads_is_cut_off_and_holds_up_no_shutdown() -> None:
    server = await Server.start("stalling.py")
    try:
        port = await server.port()
        reader, writer = await upgrade(port, b'{"message":"go"}')
        await server.says(r"took nothing: closed \(seconds=0\.3\)")
        async with asyncio.timeout(5):
            # What it reads at last is the end: of the connection, though the answer has none.
            received = b""
            try:
                while piece := await reader.read(1 << 20):
                    received = piece[-200:]
            except ConnectionResetError:
                pass
            else:
                assert b"slow_client" in received
        writer.close()
        _, second = await upgrade(port, b'{"message":"go"}')
        server.terminate()
        assert await server.exit(LIMIT + BUSY_MACHINE) == 0
        second.close()
    finally:
        await server.kill()


async def test_the_worst_of_all_holds_up_no_shutdown_and_cuts_none_short(serve: Serve) -> None:
    """At once: an agent that takes no notice, and clients of each kind that never read, or never ask."""
    server = await serve("deaf", store="memory")
    port = await server.port()
    _, websocket = await upgrade(port, b'{"message":"go"}')
    asked: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for accept in (b"text/event-stream", b"application/x-ndjson"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /api/agent/stream?message=go HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: %b\r\n\r\n" % accept)
        assert b" 200 " in await reader.readline()
        asked.append((reader, writer))
    for begun in (b"", b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgr", b"POST /api/agent/stream HT"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        asked.append((reader, writer))
    body = b"POST /api/agent/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(body)
    await server.says("(?s)" + "listens no more.*" * 3)
    server.terminate()
    assert await server.exit(LIMIT + BUSY_MACHINE) == 0, server.output
    assert "cut short" not in server.output
    assert "Traceback" not in server.output
    for _, client in ((reader, writer), (reader, websocket), *asked):
        client.close()
