"""Promise 2: an interrupt can't get lost or hit the wrong run; it is idempotent and works at every moment."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from helpers import Http, core, drained, got, hello, of, say, serving, types

from agent_ws.agents.scripted import Gate, Scripted, Wait
from agent_ws.events import ENDINGS, Content, ToolResult, ToolStart
from agent_ws.settings import Settings, Timeouts
from agent_ws.testing.client import Client, connect
from agent_ws.testing.invariants import check_log
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)


def endings(client: Client, run: str | None = None) -> list[str]:
    return [
        frame["type"]
        for frame in of(client, "done", "interrupted", "error")
        if "seq" in frame and run in (None, frame["run"])
    ]


# At every moment


async def test_while_the_run_is_queued() -> None:
    gate = Gate()
    agent = Scripted(["first", gate], ["second"])
    async with serving(agent) as app, connect(app) as client:
        first = await say(client, "a")
        second = await say(client, "b")
        third = await say(client, "c")
        assert [first["outcome"], second["outcome"], third["outcome"]] == ["started", "queued", "queued"]
        await client.send({"type": "interrupt", "run": second["run"]})
        await got(client, "interrupted", run=second["run"])
        assert (await got(client, "settled", run=second["run"]))["task"] == "never_started"
        gate.set()
        await got(client, "done", run=first["run"])
        await got(client, "done", run=third["run"])
        assert [turn.message for turn in agent.turns] == ["a", "c"]


async def test_without_a_name_it_stops_the_run_and_all_that_wait() -> None:
    gate = Gate()
    agent = Scripted(["x", gate])
    async with serving(agent) as app, connect(app) as client:
        for name in "abc":
            await say(client, name)
        await gate.reached.wait()
        await client.send({"type": "interrupt"})
        await drained(client)
        assert endings(client) == ["interrupted"] * 3
        assert len(agent.turns) == 1


async def test_in_the_same_breath_as_its_message() -> None:
    async with serving(Scripted([Wait(1), "never"])) as app, connect(app) as client:
        await hello(client)
        await client.send({"message": "hi"})
        await client.send({"type": "interrupt"})
        await drained(client)
        assert endings(client) == ["interrupted"]
        assert client.text() == ""
        assert types(of(client, "accepted")) == ["accepted"]


async def test_before_the_first_token() -> None:
    gate = Gate()
    async with serving(Scripted([gate, "never"])) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await client.send({"type": "interrupt"})
        await drained(client)
        assert endings(client) == ["interrupted"]
        assert client.text() == ""


async def test_before_the_task_took_its_first_step() -> None:
    async with serving(Scripted(["never"])) as app, connect(app) as client:
        session = await core(app, await hello(client))
        session.take("hi")
        assert session.interrupt() != []
        await drained(client)
        assert types(client.events) == ["user", "start", "interrupted", "settled"]


async def test_between_tokens() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await got(client, "content")
        await client.send({"type": "interrupt", "reason": "barge_in"})
        assert (await got(client, "interrupted"))["reason"] == "barge_in"
        await drained(client)
        assert client.text() == "a"


async def test_inside_a_tool() -> None:
    gone = asyncio.Event()

    async def agent(turn: Turn) -> None:
        async with turn.tool("search", tool="t1"):
            try:
                await asyncio.sleep(30)
            finally:
                gone.set()

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await got(client, "tool_start")
        await client.send({"type": "interrupt"})
        await drained(client)
        assert types(client.events)[-3:] == ["tool_result", "interrupted", "settled"]
        assert gone.is_set()


async def test_while_the_user_is_asked() -> None:
    async def agent(turn: Turn) -> None:
        await turn.ask("question", "Sure?")

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "hi"})
        await got(client, "request")
        await client.send({"type": "interrupt"})
        await drained(client)
        assert types(client.events)[-3:] == ["resolved", "interrupted", "settled"]


async def test_after_a_reconnect_and_from_another_tab() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await client.send({"message": "hi"})
            await gate.reached.wait()
            client.drop()
        async with connect(app) as watching, connect(app) as back:
            await hello(watching, opened)
            await hello(back, opened)
            await back.send({"type": "interrupt"})
            for tab in (back, watching):
                await tab.until("interrupted")
                await tab.until("settled")
                assert tab.text() == "a"


@pytest.mark.virtual(seeds=20)
async def test_from_a_tab_that_is_closed_in_the_same_breath() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app, connect(app) as watching:
        opened = await hello(watching)
        await say(watching, "hi")
        await gate.reached.wait()
        async with connect(app) as leaving:
            await hello(leaving, opened)
            await leaving.send({"type": "ping"})  # its answer finds nobody
            await leaving.send({"type": "interrupt"})
        await drained(watching)
        assert endings(watching) == ["interrupted"]


async def test_over_http() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app, connect(app) as client:
        opened = await hello(client)
        accepted = await say(client, "hi")
        await gate.reached.wait()
        auth = {"authorization": f"Bearer {opened['token']}"}
        body = {"session": opened["session"], "run": accepted["run"]}
        assert await Http(app, "/api/agent/interrupt", body, auth).json() == {"interrupted": [accepted["run"]]}
        assert await Http(app, "/api/agent/interrupt", body, auth).json() == {"interrupted": []}
        await got(client, "interrupted")
        await drained(client)
        assert endings(client) == ["interrupted"]


@pytest.mark.virtual(seeds=20)
async def test_at_any_step_there_is_one_ending_and_nothing_behind_it() -> None:
    async def agent(turn: Turn) -> None:
        turn.content("a")
        await asyncio.sleep(0)
        async with turn.section("s1") as section:
            section.content("b")
            await asyncio.sleep(0)
            async with turn.tool("search") as call:
                await asyncio.sleep(0)
                call.output = "3"
            await asyncio.sleep(0)
        turn.content("c")

    for steps in range(30):
        async with serving(agent) as app, connect(app) as client:
            session = await core(app, await hello(client))
            await client.send({"message": "hi"})
            for _ in range(steps):
                await asyncio.sleep(0)
            await client.send({"type": "interrupt"})
            await drained(client)
            events = session.log.read(0)
            check_log(events, over=True)
            [ending] = [event for event in events if isinstance(event, ENDINGS)]
            assert types(client.events)[-2:] == [ending.__struct_config__.tag, "settled"]


# Which run


async def test_a_late_stop_does_not_kill_the_next_run() -> None:
    gate = Gate()
    async with serving(Scripted(["one"], ["two ", gate, "three"])) as app, connect(app) as client:
        first = await say(client, "a")
        await got(client, "settled")
        second = await say(client, "b")
        await gate.reached.wait()
        await client.send({"type": "interrupt", "run": first["run"]})
        await asyncio.sleep(5)
        gate.set()
        await got(client, "done", run=second["run"])
        assert endings(client) == ["done", "done"]
        assert client.text(second["run"]) == "two three"


async def test_a_late_stop_does_not_kill_the_run_that_waited() -> None:
    gate = Gate()
    async with serving(Scripted([Wait(1), "one"], ["two ", gate])) as app, connect(app) as client:
        first = await say(client, "a")
        second = await say(client, "b")
        await got(client, "done", run=first["run"])
        await gate.reached.wait()
        await client.send({"type": "interrupt", "run": first["run"]})
        await drained(client, 5)
        assert endings(client, second["run"]) == []
        gate.set()
        await got(client, "done", run=second["run"])


async def test_a_part_of_a_run_that_never_was_is_an_error() -> None:
    gate = Gate()
    async with serving(Scripted(["x", gate])) as app, connect(app) as client:
        await say(client, "a")
        for part in ("section", "agent"):
            await client.send({"type": "interrupt", part: "s1", "run": "nobody's"})
            error = await client.until("error")
            assert (error["code"], error["about"]) == ("run_not_found", "nobody's")
        gate.set()
        await got(client, "done")


async def test_an_agent_has_a_name_that_a_client_can_say() -> None:
    async def agent(turn: Turn) -> None:
        with pytest.raises(ExceptionGroup):
            await turn.together(**{"a" * 65: Scripted(["never"])})
        turn.content("refused")

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "go"})
        await client.until("done")
        assert client.text() == "refused"


async def test_a_part_of_a_generator_that_never_waits() -> None:
    """The Stop comes while the generator stands in a `yield`: it has to reach the scope inside all the same."""

    async def agent(turn: Turn) -> AsyncGenerator[str | Content]:
        async with turn.section("s1"):
            while True:
                yield Content("x", "s1")
        yield "after"

    async with serving(agent) as app, connect(app) as client:
        await client.send({"message": "go"})
        await client.until("content")
        await client.send({"type": "interrupt", "section": "s1"})
        assert (await client.until("section_end"))["outcome"] == "skipped"
        assert (await client.until("content"))["data"] == "after"
        await client.until("done")


async def test_one_part_of_an_old_run_is_not_a_part_of_the_next() -> None:
    gate = Gate()

    async def agent(turn: Turn) -> None:
        async with turn.section("s1") as section:
            if turn.message == "b":
                gate.reached.set()
                await gate.wait()
            section.content(turn.message)

    async with serving(agent) as app, connect(app) as client:
        first = await say(client, "a")
        await got(client, "settled")
        second = await say(client, "b")
        await gate.reached.wait()
        await client.send({"type": "interrupt", "section": "s1", "run": first["run"]})
        await asyncio.sleep(1)
        gate.set()
        await got(client, "done", run=second["run"])
        assert client.text() == "ab"


async def test_a_run_that_never_was_is_an_error_and_stops_nothing() -> None:
    gate = Gate()
    async with serving(Scripted([gate, "a"])) as app, connect(app) as client:
        await say(client, "hi")
        await client.send({"type": "interrupt", "run": "nobody"})
        assert (await got(client, "error"))["code"] == "run_not_found"
        gate.set()
        await got(client, "done")


async def test_a_run_of_another_session_is_an_error_and_goes_on() -> None:
    gate = Gate()
    async with serving(Scripted([gate, "a"])) as app, connect(app) as mine, connect(app) as theirs:
        accepted = await say(mine, "hi")
        await hello(theirs)
        await theirs.send({"type": "interrupt", "run": accepted["run"]})
        assert (await got(theirs, "error"))["code"] == "run_not_found"
        gate.set()
        await got(mine, "done")


# Idempotent


async def test_twice_is_once() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app, connect(app) as client:
        accepted = await say(client, "hi")
        await gate.reached.wait()
        for _ in range(5):
            await client.send({"type": "interrupt"})
            await client.send({"type": "interrupt", "run": accepted["run"]})
        await drained(client)
        assert types(client.events)[-2:] == ["interrupted", "settled"]
        assert endings(client) == ["interrupted"]
        assert of(client, "error") == []


async def test_two_tabs_at_once_are_one_interrupt() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app, connect(app) as one, connect(app) as two:
        opened = await hello(one)
        await hello(two, opened)
        await say(one, "hi")
        await gate.reached.wait()
        await asyncio.gather(
            one.send({"type": "interrupt", "reason": "one"}), two.send({"type": "interrupt", "reason": "two"})
        )
        await asyncio.gather(drained(one), drained(two))
        assert endings(one) == endings(two) == ["interrupted"]
        assert of(one, "interrupted") == of(two, "interrupted")


async def test_after_the_end_it_changes_nothing() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        accepted = await say(client, "hi")
        await got(client, "settled")
        before = len(client.frames)
        await client.send({"type": "interrupt"})
        await client.send({"type": "interrupt", "run": accepted["run"]})
        await client.send({"type": "ping"})
        assert [frame["type"] for frame in await drained(client)] == ["pong"]
        assert len(client.frames) == before + 1


async def test_where_nothing_goes_it_is_not_kept_for_the_next_run() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        await hello(client)
        await client.send({"type": "interrupt"})
        await say(client, "hi")
        await got(client, "done")
        assert endings(client) == ["done"]


async def test_during_the_hand_over_it_stops_the_run_that_waits() -> None:
    gate = Gate()

    async def agent(turn: Turn) -> None:
        try:
            gate.reached.set()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.3)
            turn.content("LATE")

    async with serving(agent, Settings(timeouts=Timeouts(handover=0.5))) as app, connect(app) as client:
        first = await say(client, "a")
        await gate.reached.wait()
        second = await say(client, "b", when_busy="interrupt")
        assert second["outcome"] == "started"
        await client.send({"type": "interrupt"})
        await drained(client)
        assert endings(client, first["run"]) == endings(client, second["run"]) == ["interrupted"]
        assert [frame["task"] for frame in of(client, "settled") if frame["run"] == second["run"]] == ["never_started"]


async def test_a_tool_with_side_effects_keeps_its_result_when_it_ends_before_the_stop() -> None:
    gate = Gate()
    script = Scripted([ToolStart("t1", "pay"), ToolResult("t1", output="paid"), gate])
    async with serving(script) as app, connect(app) as client:
        await say(client, "hi")
        await gate.reached.wait()
        await client.send({"type": "interrupt"})
        settled = await got(client, "settled")
        assert settled["tools"] == {"t1": "finished"}
        assert of(client, "tool_result")[0]["output"] == "paid"
