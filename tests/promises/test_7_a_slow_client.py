"""Promise 7: a slow client is neither dropped early nor buffered without end, and control frames overtake text."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Literal

import pytest
from helpers import Http, core, cursor, drained, got, hello, of, say, serving

from agent_ws.agents.scripted import Gate, Scripted, Wait
from agent_ws.events import Content, Status, ToolResult, ToolStart
from agent_ws.fold import MERGED
from agent_ws.settings import Limits, Settings, Timeouts
from agent_ws.testing.client import Client, Closed, connect
from agent_ws.testing.invariants import Copy, check_copy
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)

TOKENS = 2_000
PATIENT = Settings(timeouts=Timeouts(run=1e6))


async def talkative(turn: Turn) -> AsyncGenerator[str]:
    """Twenty tokens a second."""
    for i in range(TOKENS):
        yield f"{turn.message}{i} "
        await asyncio.sleep(0.05)


EXPECTED = "".join(f"t{i} " for i in range(TOKENS))


async def test_who_reads_slowly_catches_up_in_bigger_steps_and_lacks_nothing() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as slow, connect(app) as fast:
        opened = await hello(slow)
        await hello(fast, opened)
        await say(slow, "t")
        slow.reading.clear()
        await fast.until("done")
        assert fast.text() == EXPECTED
        assert len(fast.frames) > TOKENS, "the one that keeps up gets each token"
        before = len(slow.frames)
        slow.reading.set()
        await slow.until("done")
        assert slow.text() == EXPECTED
        assert len(slow.frames) - before < 10
        copy = Copy()
        for frame in slow.frames:
            copy.take(frame)
        check_copy(copy, (await core(app, opened)).log.read(0)[: copy.cursor.seq])
        assert max(len(frame["data"]) for frame in of(slow, "content")) <= MERGED


async def test_it_stays_connected_however_slow_while_its_socket_takes_something() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as client:
        await say(client, "t")
        for _ in range(100):
            client.reading.clear()
            await asyncio.sleep(4)
            client.reading.set()
            await asyncio.sleep(0.01)
        await drained(client, 100)
        assert client.text() == EXPECTED


async def test_what_waits_for_it_is_in_the_log_and_nowhere_else() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as slow:
        opened = await hello(slow)
        await slow.send({"message": "t"})
        await slow.until("content")
        slow.reading.clear()
        session = await core(app, opened)
        await asyncio.sleep(TOKENS)
        assert session.busy is False
        assert session.log.tail < TOKENS + 10
        waiting = [frame for frame in slow.frames if "seq" in frame][-1]["seq"]
        assert session.log.tail - waiting > TOKENS / 2
        slow.reading.set()
        frames = await drained(slow, 1)
        assert len(frames) < 10


async def test_tools_and_statuses_are_not_merged_away() -> None:
    script = Scripted([Wait(1), *["a", Status("working"), "b", ToolStart("t1", "x"), "c", ToolResult("t1"), "d"]])
    async with serving(script) as app, connect(app) as slow:
        await hello(slow)
        await slow.send({"message": "hi"})
        slow.reading.clear()
        await asyncio.sleep(10)
        slow.reading.set()
        await slow.until("done")
        assert [frame["type"] for frame in slow.events] == [
            *("user", "start", "content", "status", "content"),
            *("tool_start", "content", "tool_result", "content", "done"),
        ]


class Drip(asyncio.Event):
    """In place of a client's `reading`: its socket takes one frame for each `take`, and all once it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._room = asyncio.Semaphore(0)

    async def wait(self) -> Literal[True]:
        if not self.is_set():
            await self._room.acquire()
        return True

    def set(self) -> None:
        super().set()
        self._room.release()

    async def take(self, frames: int) -> None:
        for _ in range(frames):
            self._room.release()
            await asyncio.sleep(0.01)


STEPS = [step for i in range(100) for step in (f"{i} ", Status("working", str(i)))]
"""Two hundred frames that can't be merged, taken from the log at once."""


async def halfway(client: Client) -> Drip:
    """Let a client get a few of many frames that are on their way to it."""
    client.reading = drip = Drip()
    await drip.take(1)
    await client.send({"message": "hi"})
    await asyncio.sleep(5)
    await drip.take(20)
    assert 10 < len(await drained(client, 1)) < 30
    return drip


async def test_its_answers_overtake_what_is_on_its_way() -> None:
    async with serving(Scripted([Wait(1), *STEPS])) as app, connect(app) as client:
        drip = await halfway(client)
        await client.send({"type": "ping", "data": "17"})
        await client.send({"type": "interrupt", "run": "nobody"})
        await drip.take(4)
        kinds = [frame["type"] for frame in await drained(client, 1)]
        assert {"pong", "error"} < set(kinds)
        drip.set()
        await client.until("settled")
        assert client.text() == "".join(f"{i} " for i in range(100))


async def test_its_stop_is_heard_while_it_does_not_read() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as slow, connect(app) as fast:
        opened = await hello(slow)
        await hello(fast, opened)
        await say(slow, "t")
        slow.reading.clear()
        await asyncio.sleep(5)
        await slow.send({"type": "interrupt"})
        began = asyncio.get_running_loop().time()
        await fast.until("interrupted")
        assert asyncio.get_running_loop().time() == began
        slow.reading.set()
        await slow.until("interrupted")
        assert slow.text() == fast.text()


async def test_a_slow_client_slows_nobody_down() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as slow, connect(app) as fast:
        opened = await hello(slow)
        await hello(fast, opened)
        slow.reading.clear()
        began = asyncio.get_running_loop().time()
        await say(fast, "t")
        await got(fast, "done")
        assert asyncio.get_running_loop().time() - began == pytest.approx(TOKENS * 0.05)


async def test_a_client_that_asks_and_does_not_read_is_closed_and_told_to_come_back() -> None:
    settings = Settings(limits=Limits(control_frames=256))
    async with serving(Scripted(["a", Wait(1), "b"]), settings) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        await drained(client, 0.5)
        place = cursor(client, opened)
        client.reading.clear()
        for _ in range(5_000):
            await client.send({"type": "ping"})
        client.reading.set()
        with pytest.raises(Closed) as closed:
            await drained(client)
        assert closed.value.code == 4504
        assert len(of(client, "pong")) < 300, "what waits is bounded"
        async with connect(app) as back:
            again = await hello(back, opened, **place)
            assert again["resumed"] is True
            await back.until("done")
            assert back.text() == "b"


async def test_pings_that_are_read_are_no_reason_to_close() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        await hello(client)
        for number in range(1_000):
            await client.send({"type": "ping", "data": str(number)})
            await asyncio.sleep(0.02)  # the rate that a connection may keep up
        await drained(client, 1)
        assert [frame["data"] for frame in of(client, "pong")] == [str(number) for number in range(1_000)]


async def test_while_a_long_log_is_sent_the_others_are_served() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    script = Scripted([Content("x", agent=str(i % 2)) for i in range(4_000)])
    async with serving(script) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        await got(client, "settled")
        beating = asyncio.create_task(beat())
        async with connect(app) as back:
            await hello(back, opened)
            before = beats
            await back.until("settled")
            assert beats - before > 100
        beating.cancel()


# pause, continue


async def paused(client: Client, **frame: object) -> None:
    """Pause, after all that came before, and require that it is in force."""
    await client.send({"type": "pause", **frame})
    await drained(client, 0.1)
    held = await drained(client, 10)
    assert [event for event in held if "seq" in event] == []


async def test_a_paused_client_gets_no_events_and_its_answers_all_the_same() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as client, connect(app) as other:
        opened = await hello(client)
        await hello(other, opened)
        await say(client, "t")
        await paused(client)
        await client.send({"type": "ping"})
        await client.until("pong")
        await other.until("done")
        assert other.text() == EXPECTED, "the run goes on, and others are not paused"
        await client.send({"type": "continue"})
        await client.until("done")
        assert client.text() == EXPECTED


async def test_pause_holds_also_what_is_on_its_way() -> None:
    async with serving(Scripted([Wait(1), *STEPS])) as app, connect(app) as client:
        drip = await halfway(client)
        await client.send({"type": "pause"})
        await drip.take(30)
        assert len(await drained(client, 1)) <= 1, "only what was in the socket"
        drip.set()
        await client.send({"type": "ping"})
        assert [frame["type"] for frame in await drained(client, 1)] == ["pong"]
        await client.send({"type": "continue"})
        await client.until("settled")
        assert client.text() == "".join(f"{i} " for i in range(100))
        assert len(of(client, "status")) == 100


async def test_an_interrupt_releases() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as client:
        await say(client, "t")
        await paused(client)
        await client.send({"type": "interrupt", "seen": 2})
        assert (await client.until("interrupted"))["seen"] == 2


async def test_pause_that_names_a_run_needs_that_run() -> None:
    gate = Gate()
    async with serving(Scripted(["a"], ["b", gate, "c"])) as app, connect(app) as client:
        first = await say(client, "one")
        await got(client, "settled")
        second = await say(client, "two")
        await gate.reached.wait()
        await client.send({"type": "pause", "run": first["run"]})
        await client.send({"type": "pause", "run": "nobody"})
        await drained(client, 1)
        assert client.text(second["run"]) == "b"
        await client.send({"type": "pause", "run": second["run"]})
        await asyncio.sleep(1)
        gate.set()
        await drained(client, 10)
        assert client.text(second["run"]) == "b"
        await client.send({"type": "continue"})
        await drained(client, 1)
        assert client.text(second["run"]) == "bc"


async def test_pause_ends_with_the_connection() -> None:
    async with serving(talkative, PATIENT) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "t")
            await paused(client)
        async with connect(app) as back:
            await hello(back, opened)
            await back.until("done")
            assert back.text() == EXPECTED


# HTTP


async def test_a_slow_http_stream_catches_up_too() -> None:
    async with serving(talkative, PATIENT) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "t")
        await got(client, "done")
        auth = {"authorization": f"Bearer {opened['token']}", "accept": "application/x-ndjson"}
        text = await Http(app, f"/api/agent/stream?session={opened['session']}", headers=auth).text()
        assert len(text.splitlines()) < 12
