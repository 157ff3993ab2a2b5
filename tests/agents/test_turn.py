"""What a turn can do with calls that a model is still writing, with attempts that fail, and with work that goes on."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Frame, drained, got, of, say, serving

from agent_ws.agents.scripted import Gate
from agent_ws.errors import BracketError
from agent_ws.events import SectionStart
from agent_ws.history import FATES, OUTCOMES, ToolOutput, ToolUse
from agent_ws.testing.client import Client, connect
from agent_ws.testing.invariants import check_history
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)


def calls(turn: Turn) -> list[ToolUse | ToolOutput]:
    """The calls of the history, and what came of them."""
    check_history(turn.messages)
    return [part for message in turn.history for part in message.parts if isinstance(part, ToolUse | ToolOutput)]


def short(frame: Frame) -> Any:
    """A frame without numbers and times."""
    return {key: value for key, value in frame.items() if key not in ("seq", "run", "at")}


async def test_a_call_is_shown_from_its_first_letter_and_runs_once() -> None:
    async def agent(turn: Turn) -> None:
        tool = turn.begin_tool("search", "t1")
        turn.tool_input(tool, '{"q": ')
        turn.tool_input(tool, "")
        turn.tool_input(tool, "1}")
        async with turn.tool("search", {"q": 1}, tool=tool) as call:
            assert not call.stopped.is_set()
            call.output = "3"
        assert call.stopped.is_set()

    async with serving(agent) as app, connect(app) as client:
        await say(client, "hi")
        settled = await got(client, "settled")
        assert [short(frame) for frame in of(client, "tool_start", "tool_input", "tool_run", "tool_result")] == [
            {"type": "tool_start", "tool": "t1", "name": "search", "waits": True},
            {"type": "tool_input", "tool": "t1", "data": '{"q": '},
            {"type": "tool_input", "tool": "t1", "data": "1}"},
            {"type": "tool_run", "tool": "t1", "input": {"q": 1}},
            {"type": "tool_result", "tool": "t1", "outcome": "ok", "output": "3"},
        ]
        assert settled["tools"] == {"t1": "finished"}


@pytest.mark.parametrize(
    ("outcome", "output", "told"),
    [("denied", "", OUTCOMES["denied"]), ("error", "no such tool", "no such tool"), ("withdrawn", "", None)],
)
async def test_a_call_that_never_ran_is_told_as_such(outcome: Any, output: str, told: str | None) -> None:
    seen: list[Turn] = []

    async def agent(turn: Turn) -> None:
        seen.append(turn)
        if turn.message == "first":
            turn.end_tool(turn.begin_tool("pay", "t1"), outcome, output)

    async with serving(agent) as app, connect(app) as client:
        settled = (await say(client, "first"), await got(client, "settled"))[1]
        assert settled["tools"] == {"t1": "never_started"}
        await say(client, "next")
        await drained(client, 5)
        assert calls(seen[1]) == (
            [] if told is None else [ToolUse("t1", "pay", None), ToolOutput("t1", told, ok=False)]
        )


async def test_a_stop_while_the_model_writes_a_call_leaves_one_that_never_started() -> None:
    gate, seen = Gate(), list[Turn]()

    async def agent(turn: Turn) -> None:
        seen.append(turn)
        if turn.message == "first":
            turn.tool_input(turn.begin_tool("pay", "t1"), '{"amo')
            gate.reached.set()
            await gate.wait()

    async with serving(agent) as app, connect(app) as client:
        await say(client, "first")
        await gate.reached.wait()
        await client.send({"type": "interrupt"})
        settled = await got(client, "settled")
        assert (settled["tools"], of(client, "tool_result")[0]["outcome"]) == ({"t1": "never_started"}, "interrupted")
        await say(client, "next")
        await drained(client, 5)
        assert calls(seen[1]) == [ToolUse("t1", "pay", None), ToolOutput("t1", FATES["never_started"], ok=False)]


async def test_an_attempt_is_taken_back_whole_and_nothing_else() -> None:
    async def agent(turn: Turn) -> None:
        turn.content("kept ")
        turn.thinking("kept")
        waiting = turn.begin_tool("before", "t0")
        mark = turn.mark()
        turn.take_back_to(mark)
        turn.content("wrong ")
        turn.thinking("wrong")
        turn.begin_tool("search", "t1")
        assert not turn.ran_tools_since(mark)
        turn.take_back_to(mark)
        turn.content("right")
        async with turn.tool("before", tool=waiting):
            pass
        assert turn.ran_tools_since(mark)

    async with serving(agent) as app, connect(app) as client:
        await say(client, "hi")
        await got(client, "settled")
        assert [short(frame) for frame in of(client, "status")] == [
            {"type": "status", "state": "reset", "chars": 6, "thinking": 5}
        ]
        assert [(frame["tool"], frame["outcome"]) for frame in of(client, "tool_result")] == [
            ("t1", "withdrawn"),
            ("t0", "ok"),
        ]


async def test_a_section_of_an_attempt_that_failed_can_begin_anew() -> None:
    async def agent(turn: Turn) -> None:
        async with turn.section("kept"):
            mark = turn.mark()
            turn.write(SectionStart("s1"))
            turn.content("wrong", "s1")
            turn.take_back_to(mark)
            turn.write(SectionStart("s1"))
            turn.content("right", "s1")
            turn.content("still open", "kept")

    async with serving(agent) as app, connect(app) as client:
        await say(client, "hi")
        settled = await got(client, "settled")
        assert of(client, "done")
        assert settled["chars"] == len("rightstill open")


async def test_one_of_several_agents_takes_back_its_own_only() -> None:
    async def one(turn: Turn) -> None:
        mark = turn.mark()
        turn.begin_tool("mine", turn.name)
        turn.content("x" * len(turn.name or ""))
        await asyncio.sleep(1)
        if turn.name == "bob":
            turn.take_back_to(mark)

    async def agent(turn: Turn) -> None:
        await turn.together(bob=one, alice=one)

    async with serving(agent) as app, connect(app) as client:
        await say(client, "hi")
        settled = await got(client, "settled")
        assert {frame["tool"]: frame["outcome"] for frame in of(client, "tool_result")} == {
            "bob": "withdrawn",
            "alice": "interrupted",
        }
        assert settled["chars"] == len("alice")


async def test_an_answer_in_one_piece_is_marked_in_its_ending() -> None:
    async def agent(turn: Turn) -> None:
        if turn.message == "degraded":
            turn.status("degraded", streamed=False)

    async with serving(agent) as app, connect(app) as client:
        for message, streamed in (("degraded", False), ("whole", None)):
            accepted = await say(client, message)
            assert (await got(client, "done", run=accepted["run"])).get("streamed") is streamed


async def stopped_while(client: Client, gate: Gate) -> Frame:
    await say(client, "hi")
    await gate.reached.wait()
    await client.send({"type": "interrupt"})
    return await got(client, "settled")


@pytest.mark.parametrize("early", [True, False])
async def test_the_receipt_says_what_of_a_call_outlived_the_run(*, early: bool) -> None:
    gate = Gate()

    async def agent(turn: Turn) -> None:
        async with turn.tool("mine", tool="t1") as call:
            over: Callable[[], None] = turn.outlives(call.tool)
            gate.reached.set()
            try:
                await gate.wait()
            finally:
                if early:
                    over()

    async with serving(agent) as app, connect(app) as client:
        settled = await stopped_while(client, gate)
        assert settled["tools"] == {"t1": "finished_after_stop" if early else "running"}


async def test_what_is_spawned_outlives_the_run() -> None:
    gate, over = Gate(), asyncio.Event()

    async def agent(turn: Turn) -> None:
        async def work() -> None:
            await gate.wait()
            over.set()

        turn.spawn(work(), "detached")
        gate.reached.set()
        await asyncio.Event().wait()

    async with serving(agent) as app, connect(app) as client:
        settled = await stopped_while(client, gate)
        assert settled["task"] == "cancelled"
        gate.set()
        await asyncio.wait_for(over.wait(), 5)


async def test_the_output_of_a_call_that_never_ran_is_refused() -> None:
    async def agent(turn: Turn) -> None:
        tool = turn.begin_tool("search")
        with pytest.raises(BracketError):
            turn.end_tool(tool, "ok", "made up")

    async with serving(agent) as app, connect(app) as client:
        await say(client, "hi")
        assert await got(client, "done")
