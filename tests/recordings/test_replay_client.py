"""Recorded clients do again what they did: at the same server the same comes of it, and at another one that is told."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from live import serving
from talking import Person, agent, dial
from wire import DEADLINE_S

from agent_ws import Turn
from agent_ws.recording import Closed, File, FromClient, FromServer, Line, Opened, Recording, Refused, form, read
from agent_ws.recordings import Again, Proxy, Replay, Url
from agent_ws.server.tokens import fresh


async def again(recording: Recording, port: int, speed: float = math.inf, **more: Any) -> list[str]:
    async with asyncio.timeout(DEADLINE_S * 2):
        return await Again(recording, Url("127.0.0.1", port), speed=speed, **more).run()


@pytest.mark.parametrize("speed", [math.inf, 2.0])
async def test_the_same_server_does_the_same(recording: Recording, speed: float) -> None:
    async with serving(agent) as site:
        assert await again(recording, site.port, speed=speed) == []


async def test_a_slow_server_does_the_same(recording: Recording) -> None:
    async def slow(turn: Turn) -> None:
        await asyncio.sleep(0.2)
        await agent(turn)

    async with serving(slow) as site:
        assert await again(recording, site.port, speed=4.0) == []


async def test_a_recording_agrees_with_itself(recording: Recording) -> None:
    told: list[str] = []
    async with Replay(recording, told.append, speed=math.inf, host="127.0.0.1", port=0) as replay:
        assert await again(recording, replay.port) == []
        assert told == []


async def test_another_answer_is_told(recording: Recording) -> None:
    async def other(turn: Turn) -> None:
        turn.thinking("Hm.")
        async with turn.tool("find", {"name": turn.message}) as call:
            call.output = "4 files\n"
        turn.content("Hallo wörld \u2028😀 ")
        if turn.message == "ask":
            await turn.ask("approval", "Delete 3 files?")
        if turn.message == "hang":
            await asyncio.Event().wait()

    async with serving(other) as site:
        differences = await again(recording, site.port)
    changed = [line for line in differences if line[0] in "+-" and not line.startswith(("---", "+++"))]
    assert {*changed} == {
        '-  tool_result tool="tool 1" outcome="ok" output="3 files\\n"',
        '+  tool_result tool="tool 1" outcome="ok" output="4 files\\n"',
        '-  tool_result tool="tool 2" outcome="ok" output="3 files\\n"',
        '+  tool_result tool="tool 2" outcome="ok" output="4 files\\n"',
    }


async def test_what_does_not_come_is_told(recording: Recording) -> None:
    async def silent(_: Turn) -> None:
        pass

    async with serving(silent) as site:
        differences = await again(recording, site.port)
    assert [line for line in differences if line.startswith("-  request")]


async def test_a_server_that_hangs_holds_nothing_up(recording: Recording) -> None:
    async def hanging(_: Turn) -> None:
        await asyncio.Event().wait()

    async with serving(hanging) as site:
        differences = await again(recording, site.port, patience=0.2)
    late = [line for line in differences if "has not got what it had got here, 0.2 s later" in line]
    assert [line.partition(": connection ")[2].split()[0] for line in late] == ["1", "2", "3"], "each is told once"


async def test_a_server_that_closes_is_told(tmp_path: Path) -> None:
    lines = (
        Opened(0, 1, "/ws"),
        FromClient(0, 1, **form('{"type":"hello"}', binary=False)),
        FromClient(0, 1, **form('{"type":"hello"}', binary=False)),
        FromServer(0, 1, **form('{"type":"session","session":"s","epoch":"e","resumed":false}', binary=False)),
        FromServer(0, 1, **form('{"type":"pong"}', binary=False)),
        Closed(1, 1, "server", 4503, "shutting_down"),
    )
    async with serving(agent) as site:
        differences = await again(written(tmp_path, *lines), site.port, patience=0.2)
    assert [line for line in differences if line[0] in "+-"][2:] == [
        "-pong",
        "-closed by=server code=4503 reason=shutting_down",
        '+error code="conflict"',
        "+closed by=server code=4409 reason=conflict",
    ]


def written(folder: Path, *lines: Line) -> Recording:
    with File(folder / "made", "proxy", 1.5) as file:
        file.add(lines)
    return read(folder / "made")


async def test_a_refusal_is_compared_too(tmp_path: Path) -> None:
    async with serving(agent) as site:
        assert await again(written(tmp_path, Refused(0, 1, "/ws?token=x", 400)), site.port) == []
        (tmp_path / "made").unlink()
        differences = await again(written(tmp_path, Refused(0, 1, "/ws", 503)), site.port, patience=0.1)
    assert "-refused status=503" in differences


async def test_a_recording_that_begins_in_the_middle_is_told_with_its_line(tmp_path: Path) -> None:
    back = '{"type":"hello","session":"s1","token":"secret-1"}'
    lines = Opened(0, 1, "/ws"), FromClient(0, 1, **form(back, binary=False))
    async with serving(agent) as site:
        with pytest.raises(ValueError, match="made, line 3: expected a session that the recording began"):
            await again(written(tmp_path, *lines), site.port)


async def test_a_server_that_is_not_there_is_an_error(recording: Recording) -> None:
    async with serving(agent) as site:
        port = site.port
    with pytest.raises(OSError, match="Connect call failed"):
        await again(recording, port)


async def test_a_login_of_its_own(tmp_path: Path) -> None:
    token, line = fresh("alice", None)
    (tmp_path / "tokens").write_text(line + "\n")
    async with serving(agent, tokens=str(tmp_path / "tokens")) as site:
        with File(tmp_path / "r", "proxy", 1.5) as file:
            async with Proxy(Url("127.0.0.1", site.port), file, lambda _: None, host="127.0.0.1", port=0) as proxy:
                login = {"Authorization": f"Bearer {token}"}
                async with dial(proxy.port, additional_headers=login) as socket:
                    person = Person(socket)
                    await person.send(message="hi")
                    await person.until("settled")
        assert await again(read(tmp_path / "r"), site.port, token=token) == []
        differences = await again(read(tmp_path / "r"), site.port, patience=0.2)
        assert '+error code="unauthorized"' in differences
