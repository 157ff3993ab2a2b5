"""Promise 1: after `interrupted` nothing that the run wrote is ever delivered, and the ack waits for nobody."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

import pytest
from helpers import Frame, Http, attempt, core, drained, hello, of, serving, shown, sse, stubborn

from agent_ws.agents.scripted import Gate, Scripted, Wait
from agent_ws.events import ToolStart
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings, Timeouts
from agent_ws.testing.client import Client, connect
from agent_ws.turn import Agent, Turn

virtual = pytest.mark.virtual(seeds=3)


def now() -> float:
    return asyncio.get_running_loop().time()


async def stop(client: Client, **frame: object) -> Frame:
    """Send an interrupt, and require that it is acknowledged in no time at all."""
    began = now()
    await client.send({"type": "interrupt", **frame})
    interrupted = await client.until("interrupted")
    assert now() == began, "the ack waited"
    return interrupted


# The ack comes at once, whatever the agent does


def swallowing(gate: Gate) -> Agent:
    return stubborn(gate, [])


def slow_to_go(gate: Gate) -> Agent:
    async def agent(turn: Turn) -> None:
        turn.content("early ")
        try:
            gate.reached.set()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.4)  # closing a file, saying goodbye to a database

    return agent


def raising(gate: Gate) -> Agent:
    async def agent(turn: Turn) -> None:
        turn.content("early ")
        try:
            gate.reached.set()
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ValueError("no") from None

    return agent


def returning(gate: Gate) -> Agent:
    async def agent(turn: Turn) -> str:
        turn.content("early ")
        gate.reached.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return "LATE"

    return agent


def yielding_on(gate: Gate) -> Agent:
    async def agent(_: Turn) -> AsyncGenerator[str]:
        yield "early "
        gate.reached.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        while True:
            yield "LATE"

    return agent


def never_yielding(gate: Gate) -> Agent:
    async def agent(_: Turn) -> AsyncGenerator[str]:
        gate.reached.set()
        await asyncio.Event().wait()
        yield "never"

    return agent


def exiting(gate: Gate) -> Agent:
    async def agent(turn: Turn) -> None:
        turn.content("early ")
        try:
            gate.reached.set()
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise SystemExit(1) from None

    return agent


def several(gate: Gate) -> Agent:
    wrote: list[str] = []

    async def agent(turn: Turn) -> None:
        stays = stubborn(gate, wrote)
        await turn.together(one=stays, two=stays)

    return agent


KINDS: list[Callable[[Gate], Agent]] = [
    swallowing,
    slow_to_go,
    raising,
    returning,
    yielding_on,
    never_yielding,
    exiting,
    several,
]


@virtual
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_the_ack_does_not_wait_for_the_agent(kind: Callable[[Gate], Agent]) -> None:
    gate = Gate()
    async with serving(kind(gate)) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        interrupted = await stop(client)
        assert interrupted["reason"] == "user"
        rest = await drained(client)
        follows = [frame["type"] for frame in rest if "seq" in frame]  # `accepted` comes when the store is ready
        assert follows == ["settled"], "the receipt is all that follows"
        assert "LATE" not in client.text()
        gate.set()


@virtual
async def test_an_agent_that_yields_nothing_is_done() -> None:
    async def agent(_: Turn) -> AsyncGenerator[str]:
        return
        yield ""

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await client.until("done")
        await client.until("settled")
        assert client.text() == ""


async def test_a_blocking_thread_is_fenced_and_not_waited_for() -> None:
    entered, go_on, finished = threading.Event(), threading.Event(), threading.Event()
    wrote: list[str] = []

    async def agent(turn: Turn) -> None:
        turn.content("early ")

        def block() -> None:
            entered.set()
            go_on.wait()
            attempt(turn, wrote)
            finished.set()

        await asyncio.to_thread(block)

    try:
        async with serving(agent) as app, connect(app) as client:
            await client.send({"message": "hi"})
            assert await asyncio.to_thread(entered.wait, 10)
            await client.send({"type": "interrupt"})
            await client.until("interrupted")
            assert not finished.is_set()
            assert (await client.until("settled"))["task"] == "cancelled"
            go_on.set()
            assert await asyncio.to_thread(finished.wait, 10)
            await client.send({"type": "ping"})
            await client.until("pong")
            assert client.text() == "early "
            assert set(wrote) == {f"{way}: Fenced" for way in ("content", "thinking", "status", "tools", "outline")}
    finally:
        go_on.set()  # a thread that waits on would keep a failed test's process alive


# A flood


async def flood(turn: Turn) -> AsyncGenerator[str]:
    assert turn.message
    for _ in range(1_000_000):
        yield "token "


@pytest.mark.virtual
async def test_a_million_tokens_at_once_are_delivered_whole_and_in_few_frames() -> None:
    async with serving(flood) as app, connect(app) as client:
        opened = await hello(client)
        await client.send({"message": "hi"})
        await client.until("done")
        assert client.text() == "token " * 1_000_000
        assert len(client.frames) < 50_000
        session = await core(app, opened)
        assert session.log.tail < 50_000, "tokens of one tick share an event"


@virtual
async def test_a_million_tokens_at_once_can_be_stopped_in_the_middle() -> None:
    async with serving(flood) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await client.until("content")
        await stop(client)
        assert 0 < len(client.text()) < 10_000 * len("token ")
        await client.until("settled")


# Late writes


@virtual
async def test_late_writes_reach_nobody_on_any_wire() -> None:
    gate = Gate()
    wrote: list[str] = []
    agent = stubborn(gate, wrote)
    async with (
        serving(agent) as app,
        connect(app) as client,
        connect(app, subprotocols=["agent-ws.v1.msgpack"]) as tab,
    ):
        opened = await hello(client)
        await hello(tab, opened)
        auth = {"authorization": f"Bearer {opened['token']}"}
        body = {"session": opened["session"], "message": "hi"}
        events = Http(app, "/api/agent/stream", body, auth)
        await gate.reached.wait()
        lines = Http(
            app,
            f"/api/agent/stream?session={opened['session']}&epoch={opened['epoch']}&after=0",
            headers=auth | {"accept": "application/x-ndjson"},
        )
        head = await lines.until('"start"')
        await stop(client)
        await asyncio.sleep(5)  # it is cancelled again and again, and writes each time
        gate.set()
        await asyncio.sleep(1)
        assert len(wrote) > 20
        assert all(attempted.endswith(": Fenced") for attempted in wrote)

        for reader in (client, tab):
            await drained(reader)
            assert reader.text() == "early "
            assert "LATE" not in str(reader.frames)
        said = await events.text()
        assert "LATE" not in said
        assert shown(said) == "early "
        assert [name for name, _, _ in sse(said)][-2:] == ["interrupted", "end"]
        assert "LATE" not in head + await lines.text()

        async with connect(app) as back:
            await hello(back, opened)
            await drained(back)
            assert back.text() == "early "
            assert "LATE" not in str(back.frames)


@virtual
async def test_the_history_ends_where_the_screen_did() -> None:
    gate = Gate()
    told: list[str] = []
    first = stubborn(gate, [])

    async def agent(turn: Turn) -> None:
        if turn.message == "first":
            await first(turn)
        told.extend(message.text for message in turn.messages)

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "first"})
        await gate.reached.wait()
        await stop(client)
        await client.send({"message": "second"})
        await client.until("done")
        gate.set()
        assert told == ["first", "early ", "second"]


# The task, the provider, the tools


@virtual
async def test_the_receipt_says_whether_the_task_came_to_its_own_end() -> None:
    async def agent(turn: Turn) -> None:
        if turn.message == "fail":
            raise ValueError
        if turn.message == "wait":
            await asyncio.sleep(3600)

    fates: dict[str, str] = {}
    async with serving(agent) as app, connect(app) as client:
        for message in ("done", "fail", "wait"):
            await client.send({"message": message})
            await client.until("start")
            if message == "wait":
                await client.send({"type": "interrupt"})
            fates[message] = (await client.until("settled"))["task"]
    assert fates == {"done": "finished", "fail": "finished", "wait": "cancelled"}


@virtual
async def test_a_task_that_goes_is_receipted_as_cancelled() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await stop(client)
        settled = await client.until("settled")
        assert (settled["task"], settled["stop_ms"], settled["chars"]) == ("cancelled", 0, 1)


@virtual
async def test_a_task_that_swallows_one_cancellation_gets_a_second() -> None:
    gate = Gate()

    async def agent(_: Turn) -> None:
        gate.reached.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async with serving(agent, Settings(timeouts=Timeouts(grace=1.0))) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await stop(client)
        settled = await client.until("settled")
        assert (settled["task"], settled["stop_ms"]) == ("cancelled", 1000)


@virtual
async def test_a_task_that_is_cancelled_from_outside_before_its_first_step_has_an_ending_and_a_receipt() -> None:
    async with Sessions(Scripted(["a"]), Settings()) as sessions:
        session, _ = await sessions.create("me")
        session.take("hi")
        (task,) = (task for task in asyncio.all_tasks() if task.get_name().startswith("agent "))
        task.cancel()
        await asyncio.sleep(0.001)
        assert [type(event).__name__ for event in session.log.read(0)] == ["User", "Start", "Error", "Settled"]
        assert not session.busy


@virtual
async def test_a_task_that_stays_is_abandoned_and_still_can_not_write() -> None:
    gate = Gate()
    wrote: list[str] = []
    settings = Settings(timeouts=Timeouts(abandon=10.0))
    async with serving(stubborn(gate, wrote), settings) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await stop(client)
        settled = await client.until("settled")
        assert (settled["task"], settled["stop_ms"]) == ("abandoned", 10_000)
        wrote.clear()
        gate.set()
        assert await drained(client) == []
        assert wrote
        assert all(attempted.endswith(": Fenced") for attempted in wrote)


@virtual
async def test_the_next_run_does_not_wait_for_one_that_stays() -> None:
    gate = Gate()
    stays = stubborn(gate, [])
    answers = Scripted(["next"])

    async def agent(turn: Turn) -> None:
        if turn.message == "first":
            await stays(turn)
        else:
            async for item in answers(turn):
                turn.write(item)

    async with serving(agent, Settings(timeouts=Timeouts(handover=0.5))) as app, connect(app) as client:
        await client.send({"message": "first"})
        await gate.reached.wait()
        await stop(client)
        began = now()
        await client.send({"message": "second"})
        await client.until("done")
        assert now() - began == pytest.approx(0.5)
        assert client.text() == "early next"
        gate.set()


@virtual
async def test_the_receipt_tells_that_the_provider_was_closed() -> None:
    gate, closed = Gate(), asyncio.Event()

    async def agent(turn: Turn) -> AsyncGenerator[str]:
        async with turn.upstream():
            try:
                yield "a"
                gate.reached.set()
                await gate.wait()
            finally:
                closed.set()

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await stop(client)
        settled = await client.until("settled")
        assert settled["upstream_closed"] is True
        assert closed.is_set()


@virtual
async def test_the_receipt_tells_of_a_provider_that_is_still_open() -> None:
    gate = Gate()
    stays = stubborn(gate, [])

    async def agent(turn: Turn) -> None:
        async with turn.upstream():
            await stays(turn)

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await stop(client)
        assert (await client.until("settled"))["upstream_closed"] is False
        gate.set()


@virtual
async def test_what_is_open_is_closed_on_the_screen_before_the_ending() -> None:
    gate = Gate()

    async def agent(turn: Turn) -> None:
        async with turn.section("s1", "Idea") as section, turn.tool("search", tool="t1"):
            section.content("a")
            gate.reached.set()
            await turn.ask("question", "Sure?")

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await client.until("request")
        await stop(client)
        assert [frame["type"] for frame in client.frames[-4:]] == [
            "resolved",
            "tool_result",
            "section_end",
            "interrupted",
        ]
        assert [frame["outcome"] for frame in client.frames[-4:-1]] == ["cancelled", "interrupted", "interrupted"]


@virtual
async def test_only_the_named_section_is_stopped() -> None:
    gate = Gate()
    wrote: list[str] = []

    async def agent(turn: Turn) -> None:
        async with turn.section("s1", "One") as section:
            section.content("a")
            gate.reached.set()
            try:
                await gate.wait()
            finally:
                section.content("LATE")
                wrote.append("tried")
        turn.content("the rest")

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await client.send({"type": "interrupt", "section": "s1"})
        assert (await client.until("section_end"))["outcome"] == "skipped"
        await client.until("done")
        assert wrote == ["tried"]
        assert client.text() == "athe rest"


@virtual
async def test_only_the_named_agent_is_stopped_with_its_tools() -> None:
    gate = Gate()

    async def one(turn: Turn) -> None:
        async with turn.tool("search", tool="t1"):
            gate.reached.set()
            await asyncio.sleep(3600)

    async def agent(turn: Turn) -> None:
        await turn.together(one=one, two=Scripted([Wait(100), "two"]))

    # The tool of the stopped agent must not time the run out later.
    settings = Settings(timeouts=Timeouts(tool=60.0, silence=200.0))
    async with serving(agent, settings) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await client.send({"type": "interrupt", "agent": "one"})
        result = await client.until("tool_result")
        assert (result["outcome"], result["agent"]) == ("interrupted", "one")
        await client.until("done")
        assert client.text() == "two"
        assert [(frame["agent"], frame["state"]) for frame in of(client, "status")] == [
            ("one", "stopped"),
            ("two", "finished"),
        ]
        assert (await client.until("settled"))["tools"] == {"t1": "cancelled"}


@virtual
async def test_an_agent_that_is_stopped_again_or_fails_on_its_way_out_is_stopped_once() -> None:
    gate = Gate()

    async def one(_: Turn) -> None:
        gate.reached.set()
        try:
            await gate.wait()
        finally:
            raise ValueError

    async def agent(turn: Turn) -> None:
        await turn.together(one=one)
        turn.content("the rest")

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await client.send({"type": "interrupt", "agent": "one"})
        await client.send({"type": "interrupt", "agent": "one"})
        await client.until("done")
        assert [frame["state"] for frame in of(client, "status")] == ["stopped"]
        assert client.text() == "the rest"


@virtual
async def test_a_tool_that_ends_after_its_agent_was_stopped_is_told_as_such() -> None:
    gate = Gate()

    async def one(turn: Turn) -> None:
        async with turn.tool("pay", tool="t1"):
            gate.reached.set()
            with suppress(asyncio.CancelledError):
                await gate.wait()

    async def agent(turn: Turn) -> None:
        await turn.together(one=one)

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await client.send({"type": "interrupt", "agent": "one"})
        assert (await client.until("settled"))["tools"] == {"t1": "finished_after_stop"}


@virtual
async def test_agents_that_ran_out_of_time_are_stopped_with_what_they_had_open() -> None:
    async def one(turn: Turn) -> None:
        async with turn.section("s1"):
            await asyncio.sleep(3600)

    async def agent(turn: Turn) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await turn.together(one=one)
        turn.content("the rest")

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await client.until("content")
        assert [frame["outcome"] for frame in of(client, "section_end")] == ["interrupted"]
        assert [frame["state"] for frame in of(client, "status")] == ["stopped"]


@virtual
async def test_a_section_inside_the_one_that_is_stopped_is_closed_with_it() -> None:
    gate = Gate()

    async def agent(turn: Turn) -> None:
        async with turn.section("outer"), turn.section("inner"):
            gate.reached.set()
            await gate.wait()
        turn.content("the rest")

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await client.send({"type": "interrupt", "section": "outer"})
        await client.until("content")
        ends = [(frame["section"], frame["outcome"]) for frame in of(client, "section_end")]
        assert ends == [("outer", "skipped"), ("inner", "interrupted")]


@virtual
async def test_an_open_tool_of_a_script_is_cut_short() -> None:
    gate = Gate()
    script = Scripted([ToolStart("t1", "search"), gate])
    async with serving(script) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await stop(client)
        assert (await client.until("settled"))["tools"] == {"t1": "cancelled"}
