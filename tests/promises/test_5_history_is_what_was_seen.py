"""Promise 5: the model is told what the user saw, and the truth about every tool that was cut short."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from helpers import Frame, Http, attempt, core, drained, got, hello, of, say, serving

from agent_ws.agents.scripted import Gate, Scripted, Step, Wait
from agent_ws.events import Call, Status, Thinking, ToolResult, Tools, ToolStart
from agent_ws.fold import runs
from agent_ws.history import FATES, Message, Text, ToolOutput, ToolUse
from agent_ws.settings import Limits, Settings, Timeouts
from agent_ws.testing.client import Client, connect
from agent_ws.testing.invariants import check_history
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)

TEXT = "Hello, 🙂👩‍🚀 world"
"""17 code points; 20 UTF-16 units, which is what JavaScript counts; 28 bytes."""


def told(turn: Turn) -> list[tuple[str, str]]:
    """What a model is told on this turn, texts only."""
    check_history(turn.messages)
    return [(message.role, message.text) for message in turn.messages]


def outputs(messages: tuple[Message, ...]) -> list[ToolOutput]:
    return [part for message in messages for part in message.parts if isinstance(part, ToolOutput)]


async def interrupted(client: Client, gate: Gate, **frame: Any) -> Frame:
    """Say something, wait until the agent stands at `gate`, interrupt, and wait for the receipt."""
    accepted = await say(client, "first")
    await gate.reached.wait()
    await client.send({"type": "interrupt", **frame})
    return await got(client, "settled", run=accepted["run"])


@pytest.mark.parametrize(
    ("seen", "kept"),
    [(None, TEXT), (0, ""), (1, "H"), (8, "Hello, 🙂"), (9, "Hello, 🙂👩"), (len(TEXT), TEXT), (10**9, TEXT)],
)
async def test_seen_cuts_the_history_in_code_points(seen: int | None, kept: str) -> None:
    gate = Gate()
    script = Scripted([TEXT[:4], TEXT[4:], gate], ["second"])
    async with serving(script) as app, connect(app) as client:
        frame = {} if seen is None else {"seen": seen}
        settled = await interrupted(client, gate, **frame)
        assert settled.get("seen") == (None if seen is None else min(seen, len(TEXT)))
        assert settled["chars"] == len(TEXT)
        await say(client, "next")
        await drained(client, 5)
        answer = [("assistant", kept)] if kept.strip() else []
        assert told(script.turns[1]) == (
            [("user", "first"), *answer, ("user", "next")] if answer else [("user", "firstnext")]
        )


@pytest.mark.parametrize("seen", range(0, 24, 3))
async def test_seen_cuts_what_came_as_whole_sentences(seen: int) -> None:
    """A voice client hears sentences, and is cut off in the middle of one, or behind one that it was not sent."""
    gate, tokens = Gate(), ("One ", "two. ", "Three ", "four. ", "Fi", "ve")
    script = Scripted([*tokens, gate], ["second"])
    async with serving(script) as app, connect(app) as voice:
        await hello(voice, chunk="sentence")
        await say(voice, "first")
        await gate.reached.wait()
        await drained(voice, 1)
        assert voice.text() == "One two. Three four. "
        await voice.send({"type": "interrupt", "seen": seen})
        settled = await got(voice, "settled")
        whole = "".join(tokens)
        assert (settled["seen"], settled["chars"]) == (min(seen, len(whole)), len(whole))
        await say(voice, "next")
        await drained(voice, 5)
        kept = whole[:seen]
        assert told(script.turns[1]) == (
            [("user", "first"), ("assistant", kept), ("user", "next")] if kept else [("user", "firstnext")]
        )


async def test_the_rest_is_stored_and_shown_all_the_same() -> None:
    gate = Gate()
    async with serving(Scripted([TEXT, gate])) as app, connect(app) as client:
        opened = await hello(client)
        await interrupted(client, gate, seen=5)
        [view] = runs((await core(app, opened)).log.read(0))
        assert (view.text(), view.seen) == (TEXT, 5)
        async with connect(app) as back:
            await hello(back, opened)
            await drained(back, 5)
            assert back.text() == TEXT


async def test_an_interrupt_that_crosses_the_end_still_cuts() -> None:
    script = Scripted([TEXT], ["second"])
    async with serving(script) as app, connect(app) as client:
        accepted = await say(client, "first")
        await got(client, "settled")
        await client.send({"type": "interrupt", "run": accepted["run"], "seen": 5})
        assert (await got(client, "seen"))["chars"] == 5
        assert of(client, "interrupted") == []
        await say(client, "next")
        await drained(client, 5)
        assert told(script.turns[1]) == [("user", "first"), ("assistant", "Hello"), ("user", "next")]


async def test_without_a_name_it_cuts_the_last_answer() -> None:
    script = Scripted([TEXT], ["second"])
    async with serving(script) as app, connect(app) as client:
        await say(client, "first")
        await got(client, "settled")
        await client.send({"type": "interrupt", "seen": 2})
        await got(client, "seen")
        await say(client, "next")
        await drained(client, 5)
        assert told(script.turns[1])[1] == ("assistant", "He")


async def test_seen_after_the_end_only_ever_cuts_more_and_is_idempotent() -> None:
    async with serving(Scripted([TEXT])) as app, connect(app) as client:
        accepted = await say(client, "first")
        await got(client, "settled")
        for seen in (10**9, len(TEXT), 7, 7, 9, 3, 3):
            await client.send({"type": "interrupt", "run": accepted["run"], "seen": seen})
        await drained(client, 5)
        assert [event["chars"] for event in of(client, "seen")] == [7, 3]


async def test_seen_of_an_older_run_cuts_that_one() -> None:
    script = Scripted(["one"], ["two"], ["three"])
    async with serving(script) as app, connect(app) as client:
        first = await say(client, "a")
        await got(client, "settled")
        second = await say(client, "b")
        await got(client, "settled", run=second["run"])
        await client.send({"type": "interrupt", "run": first["run"], "seen": 1})
        await say(client, "c")
        await drained(client, 5)
        assert [text for _, text in told(script.turns[2])] == ["a", "o", "b", "two", "c"]


async def test_without_a_name_it_cuts_the_last_answer_also_after_the_session_was_loaded_anew() -> None:
    async with serving(Scripted([TEXT]), Settings(limits=Limits(loaded_sessions=1))) as app:
        async with connect(app) as client:
            opened = await hello(client)
            accepted = await say(client, "first")
            await got(client, "settled")
        async with connect(app) as other:
            await say(other, "push it out")
            await got(other, "settled")
        async with connect(app) as back:
            await hello(back, opened)
            await back.send({"type": "interrupt", "seen": 2})
            seen = await back.until("seen")
            assert (seen["run"], seen["chars"]) == (accepted["run"], 2)


async def test_seen_over_http_is_the_same() -> None:
    gate = Gate()
    script = Scripted([TEXT, gate], ["second"])
    async with serving(script) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "first")
        await gate.reached.wait()
        body = {"session": opened["session"], "token": opened["token"], "seen": 5, "reason": "barge_in"}
        await Http(app, "/api/agent/interrupt", body).json()
        assert (await got(client, "interrupted"))["seen"] == 5
        await got(client, "settled")
        await say(client, "next")
        await drained(client, 5)
        assert told(script.turns[1])[1] == ("assistant", "Hello")


async def test_what_was_taken_back_is_neither_told_nor_counted() -> None:
    gate = Gate()
    script = Scripted(["wrong", Status("reset", chars=5), "right", gate], ["second"])
    async with serving(script) as app, connect(app) as client:
        settled = await interrupted(client, gate, seen=3)
        assert settled["chars"] == 5
        await say(client, "next")
        await drained(client, 5)
        assert told(script.turns[1])[1] == ("assistant", "rig")


async def test_reasoning_is_shown_and_not_told() -> None:
    script = Scripted([Thinking("hm"), "a"], ["b"])
    async with serving(script) as app, connect(app) as client:
        await say(client, "first")
        await got(client, "settled")
        assert of(client, "thinking") != []
        await say(client, "next")
        await drained(client, 5)
        assert "hm" not in str(script.turns[1].messages)


async def test_a_failed_answer_is_told_as_far_as_it_was_shown() -> None:
    async def agent(turn: Turn) -> None:
        if turn.message == "first":
            turn.content("half")
            raise ValueError("secret")
        turn.content(str(told(turn)))

    async with serving(agent) as app, connect(app) as client:
        await say(client, "first")
        error = await got(client, "error")
        assert (error["code"], "secret" in error["message"]) == ("agent_error", False)
        await got(client, "settled")
        await say(client, "next")
        await got(client, "done")
        assert str([("user", "first"), ("assistant", "half"), ("user", "next")]) in client.text()


# Tools


@pytest.mark.parametrize(
    ("steps", "fates", "said"),
    [
        pytest.param([Tools((Call("t1", "search"),))], {"t1": "never_started"}, [], id="never started"),
        pytest.param([ToolStart("t1", "search")], {"t1": "cancelled"}, [FATES["cancelled"]], id="cancelled"),
        pytest.param(
            [ToolStart("t1", "search"), ToolResult("t1", output="3")], {"t1": "finished"}, ["3"], id="finished"
        ),
        pytest.param(
            [ToolStart("t1", "a"), ToolStart("t2", "b"), ToolResult("t2", output="2")],
            {"t1": "cancelled", "t2": "finished"},
            [FATES["cancelled"], "2"],
            id="one of two",
        ),
    ],
)
async def test_fates_of_tools(steps: list[Step], fates: dict[str, str], said: list[str]) -> None:
    gate = Gate()
    script = Scripted(["a", *steps, gate], ["second"])
    async with serving(script) as app, connect(app) as client:
        settled = await interrupted(client, gate)
        assert settled.get("tools", {}) == fates
        await say(client, "next")
        await drained(client, 5)
        check_history(script.turns[1].messages)
        assert [output.output for output in outputs(script.turns[1].history)] == said


async def test_a_tool_that_ignores_the_stop_and_finishes_is_told_as_such() -> None:
    gate = Gate()
    seen: list[tuple[Message, ...]] = []

    async def agent(turn: Turn) -> None:
        seen.append(turn.messages)
        if turn.message == "first":
            async with turn.tool("pay", {"amount": 3}, tool="t1") as call:
                gate.reached.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(10)
                await asyncio.sleep(0.2)  # the money is on its way
                call.output = "paid"

    async with serving(agent) as app, connect(app) as client:
        settled = await interrupted(client, gate)
        assert settled["tools"] == {"t1": "finished_after_stop"}
        assert of(client, "tool_result")[0]["outcome"] == "interrupted"
        await say(client, "next")
        await drained(client, 5)
        assert [part for message in seen[1] for part in message.parts] == [
            Text("first"),
            ToolUse("t1", "pay", {"amount": 3}),
            ToolOutput("t1", FATES["finished_after_stop"], ok=False),
            Text("next"),
        ]


async def test_a_tool_that_can_not_be_stopped_is_told_as_such() -> None:
    gate = Gate()
    seen: list[tuple[Message, ...]] = []
    wrote: list[str] = []

    async def agent(turn: Turn) -> None:
        seen.append(turn.messages)
        if turn.message != "first":
            return
        async with turn.tool("mine", tool="t1"):
            gate.reached.set()
            while not gate.is_set():
                with suppress(asyncio.CancelledError):
                    await gate.wait()
            attempt(turn, wrote)

    async with serving(agent, Settings(timeouts=Timeouts(abandon=10))) as app, connect(app) as client:
        settled = await interrupted(client, gate)
        assert (settled["task"], settled["tools"]) == ("abandoned", {"t1": "running"})
        await say(client, "next")
        await drained(client, 5)
        assert outputs(seen[1]) == [ToolOutput("t1", FATES["running"], ok=False)]
        gate.set()
        await drained(client, 5)
        assert all(attempted.endswith("Fenced") for attempted in wrote)


async def test_a_call_behind_what_was_seen_is_told_because_its_effects_are_real() -> None:
    gate = Gate()
    script = Scripted([TEXT, ToolStart("t1", "pay"), ToolResult("t1", output="paid"), "Done!", gate], ["second"])
    async with serving(script) as app, connect(app) as client:
        await interrupted(client, gate, seen=5)
        await say(client, "next")
        await drained(client, 5)
        check_history(script.turns[1].messages)
        assert [part for message in script.turns[1].messages for part in message.parts] == [
            Text("first"),
            Text("Hello"),
            ToolUse("t1", "pay", None),
            ToolOutput("t1", "paid", ok=True),
            Text("next"),
        ]


async def test_the_history_is_valid_after_an_interrupt_at_any_moment() -> None:
    story: list[Step] = [
        Thinking("hm"),
        " ",
        Wait(1),
        "a",
        Wait(1),
        Tools((Call("t1", "search"), Call("t2", "read"))),
        ToolStart("t1", "search"),
        Wait(1),
        ToolStart("t2", "read"),
        ToolResult("t1", output="1"),
        Wait(1),
        ToolResult("t2", "error"),
        Wait(1),
        "b",
    ]
    for tenths in range(5, 65, 5):
        for seen in (None, 0, 1, 2):
            script = Scripted(story, ["second"])
            async with serving(script) as app, connect(app) as client:
                accepted = await say(client, "first")
                await asyncio.sleep(tenths / 10)
                await client.send({"type": "interrupt"} | ({} if seen is None else {"seen": seen}))
                await got(client, "settled", run=accepted["run"])
                await say(client, "next")
                await drained(client, 1)
                check_history(script.turns[1].messages)
                assert script.turns[1].messages[-1].text.endswith("next")
