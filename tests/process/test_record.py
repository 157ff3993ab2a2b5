"""`agent-ws record` and `agent-ws replay` as processes: what was recorded is there, however it ends, and is played."""

import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from processes import Serve, Server, Tab

from agent_ws.recording import Closed, File, FromClient, FromServer, Opened, form, read

Record: TypeAlias = Callable[[Server], Awaitable[Server]]


class Recorder(Server):
    """Clients take it for the server."""

    async def port(self) -> int:
        return int((await self.says(r" on http://127\.0\.0\.1:(\d+) (into|\()"))[1])


@pytest.fixture
async def record(tmp_path: Path) -> AsyncGenerator[Record]:
    """Starts a recorder in front of a server."""
    async with AsyncExitStack() as stack:

        async def start(server: Server) -> Server:
            url = f"http://127.0.0.1:{await server.port()}"
            recorder = await Recorder.start("-m", "agent_ws", "record", str(tmp_path / "r.ndjson"), url, "--port", "0")
            stack.push_async_callback(recorder.kill)
            return recorder

        yield start


async def test_kill_9_leaves_all_that_was_seen(serve: Serve, record: Record, tmp_path: Path) -> None:
    recorder = await record(await serve("endless"))
    tab = Tab(recorder)
    await tab.connect()
    run = await tab.say("hi")
    while len(tab.text(run)) < 50:
        await tab.receive()
    await recorder.kill()
    recording = read(tmp_path / "r.ndjson")
    assert [line.value["type"] for line in recording.lines if isinstance(line, FromClient)] == ["hello", "message"]
    values = [line.value for line in recording.lines if isinstance(line, FromServer)]
    recorded = "".join(value["data"] for value in values if value["type"] == "content")
    assert recorded.startswith(tab.text(run))
    await tab.leave()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(serve: Serve, record: Record, tmp_path: Path, sign: signal.Signals) -> None:
    recorder = await record(await serve("endless"))
    tab = Tab(recorder)
    await tab.connect()
    recorder.process.send_signal(sign)
    assert await tab.closed() == 1006
    assert await recorder.exit() == 0
    recording = read(tmp_path / "r.ndjson")
    assert f"connections: 1, lines: {len(recording.lines)}" in recorder.output
    assert not [line for line in recording.lines if isinstance(line, Closed)]


async def test_what_keeps_it_from_starting_is_told_in_a_line(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    for options, status, why in (
        (("--port", port), 3, "can't listen on 127.0.0.1:"),
        (("http://user@host/",), 2, "expected the address of a server"),
        (("ftp://host",), 2, "expected the address of a server"),
    ):
        recorder = await Recorder.start("-m", "agent_ws", "record", str(tmp_path / "r"), *options)
        assert await recorder.exit() == status
        assert why in recorder.output
        assert recorder.output.count("\n") == 1
        assert not (tmp_path / "r").exists()
    taken.close()
    (tmp_path / "r").touch()
    recorder = await Recorder.start("-m", "agent_ws", "record", str(tmp_path / "r"))
    assert await recorder.exit() == 2
    assert "expected a new file" in recorder.output


async def recorded(serve: Serve, record: Record) -> None:
    """Record a message and its answer."""
    recorder = await record(await serve("echo"))
    tab = Tab(recorder)
    await tab.connect()
    run = await tab.say("hi", id="c1")
    await tab.until("settled", run=run)
    await tab.leave()
    recorder.terminate()
    assert await recorder.exit() == 0


@pytest.mark.parametrize("message", ["hi", "ho"])
async def test_a_recording_is_played_once_and_the_status_tells(
    serve: Serve, record: Record, tmp_path: Path, message: str
) -> None:
    await recorded(serve, record)
    replay = await Recorder.start(
        *("-m", "agent_ws", "replay", str(tmp_path / "r.ndjson"), "--port", "0", "--once", "--speed", "max")
    )
    tab = Tab(replay)
    await tab.connect()
    await tab.send({"type": "message", "data": message, "id": "c1"})
    await tab.until("settled" if message == "hi" else "error")
    await tab.leave()
    assert await replay.exit() == (0 if message == "hi" else 1)
    assert ("expected {" in replay.output) is (message == "ho")


@pytest.mark.parametrize("option", ["0", "-1", "nan", "inf", "fast"])
async def test_a_speed_that_is_none_is_refused(option: str, tmp_path: Path) -> None:
    replay = await Server.start("-m", "agent_ws", "replay", str(tmp_path / "r"), f"--speed={option}")
    assert await replay.exit() == 2
    assert "expected a number above 0 or `max`" in replay.output


async def test_what_is_no_recording_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("{}\n")
    replay = await Server.start("-m", "agent_ws", "replay", str(tmp_path / "r"))
    assert await replay.exit() == 2
    assert replay.output.startswith(f"agent-ws: {tmp_path}/r, line 1: expected a recording")
    assert replay.output.count("\n") == 1


@pytest.mark.parametrize(("agent", "status"), [("echo", 0), ("half", 1)])
async def test_recorded_clients_at_a_server(
    serve: Serve, record: Record, tmp_path: Path, agent: str, status: int
) -> None:
    await recorded(serve, record)
    server = await serve(agent, store="memory")
    replay = await Server.start(
        *("-m", "agent_ws", "replay", str(tmp_path / "r.ndjson"), "--speed", "max", "--patience", "0.5"),
        *("--to", f"http://127.0.0.1:{await server.port()}"),
    )
    assert await replay.exit() == status
    assert ("the same as recorded" in replay.output) is (status == 0)
    await server.kill()
    replay = await Server.start("-m", "agent_ws", "replay", str(tmp_path / "r.ndjson"), "--to", "127.0.0.1:1")
    assert await replay.exit() == 3
    assert "agent-ws: can't reach http://127.0.0.1:1: " in replay.output


async def test_a_log_out_of_a_store_and_who_looks_on(serve: Serve, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/test.db"
    server = await serve("echo")
    tab = Tab(server)
    await tab.connect()
    await tab.until("settled", run=await tab.say("hi", id="c1"))
    take = ("-m", "agent_ws", "record")
    session, token = tab.session["session"], tab.session["token"]
    url = f"http://127.0.0.1:{await server.port()}"
    onlooker = await Server.start(*take, str(tmp_path / "w"), url, "--session", session, "--token", token)
    await onlooker.says("looks on")
    await tab.until("settled", run=await tab.say("ho", id="c2"))
    await tab.leave()
    server.terminate()  # which ends the onlooker too
    assert await server.exit() == 0
    assert await onlooker.exit() == 0
    assert token not in (tmp_path / "w").read_text()
    taken = await Server.start(*take, str(tmp_path / "l"), "--session", session, "--store", store)
    assert await taken.exit() == 0
    for name in ("w", "l"):
        kinds = [line.value["type"] for line in read(tmp_path / name).lines if isinstance(line, FromServer)]
        assert (kinds.count("done"), kinds.count("settled")) == (2, 2), name
    for options, status, why in (
        (("--store", f"sqlite:{tmp_path}/none.db"), 2, "expected a store that is there"),
        (("--store", store), 2, "expected a session of sqlite:"),
        ((url,), 3, "can't look on at"),
    ):
        wrong = await Server.start(*take, str(tmp_path / "x"), *options, "--session", "nobody's")
        assert await wrong.exit() == status
        assert why in wrong.output
        assert not (tmp_path / "x").exists()
    assert not (tmp_path / "none.db").exists()


async def test_recorded_clients_can_be_stopped(serve: Serve, tmp_path: Path) -> None:
    with File(tmp_path / "r", "proxy", 1.5) as file:
        file.add([Opened(0, 1, "/ws"), FromClient(3600, 1, **form('{"type":"hello"}', binary=False))])
    server = await serve("endless", store="memory")
    url = f"http://127.0.0.1:{await server.port()}"
    replay = await Server.start("-m", "agent_ws", "replay", str(tmp_path / "r"), "--to", url)
    await replay.says("plays the clients")
    replay.terminate()
    assert await replay.exit() == 1
    assert replay.output.endswith("agent-ws: cut short\n")
