"""Promise 5, where an answer goes on: the model goes on from what the user saw, and is told one answer afterwards."""

import asyncio
from typing import Any

import pytest
from helpers import Frame, Http, core, drained, got, hello, of, say, serving, sse, stubborn, types

from agent_ws.agents.scripted import Gate, Scripted, Step, Wait
from agent_ws.events import Content, SectionEnd, SectionStart, ToolResult, ToolStart
from agent_ws.history import FATES, GO_ON, Text, ToolOutput, ToolUse
from agent_ws.settings import Settings, Timeouts
from agent_ws.stores import MemoryStore
from agent_ws.testing.client import Client, connect
from agent_ws.testing.invariants import check_history, check_log
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)


def told(turn: Turn) -> list[tuple[str, str]]:
    check_history(turn.messages)
    texts = [[part.text for part in message.parts if isinstance(part, Text)] for message in turn.messages]
    return [(message.role, "|".join(text)) for message, text in zip(turn.messages, texts, strict=True)]


async def stopped(client: Client, gate: Gate, message: str = "first", **frame: Any) -> str:
    """Say something, wait until the agent stands at `gate`, interrupt; returns the run."""
    accepted = await say(client, message)
    await gate.reached.wait()
    gate.reached.clear()
    await client.send({"type": "interrupt", "run": accepted["run"], **frame})
    await got(client, "settled", run=accepted["run"])
    return accepted["run"]


async def go_on(client: Client, run: str, id: str = "more", data: str = "", **more: Any) -> Frame:
    """Ask for the rest, and return the outcome."""
    await client.send({"type": "message", "data": data, "id": id, "continues": run, **more})
    while True:
        answer = await client.until("accepted", "rejected")
        if answer["id"] == id:
            return answer


async def test_it_goes_on_from_what_was_seen_and_is_one_answer_afterwards() -> None:
    gate = Gate()
    script = Scripted(["One two thr", "ee unseen", gate], ["ee four."], ["second"])
    async with serving(script) as app, connect(app) as client:
        first = await stopped(client, gate, seen=len("One two thr"))
        more = await go_on(client, first)
        assert more["outcome"] == "started"
        await got(client, "done", run=more["run"])
        [said] = [frame for frame in of(client, "user") if frame["run"] == more["run"]]
        assert (said["data"], said["continues"]) == ("", first)
        await say(client, "next")
        await drained(client, 5)
    assert [turn.continues for turn in script.turns] == [None, "One two thr", None]
    assert script.turns[1].message == GO_ON
    assert told(script.turns[1]) == [("user", "first"), ("assistant", "One two thr"), ("user", GO_ON)]
    assert told(script.turns[2]) == [("user", "first"), ("assistant", "One two three four."), ("user", "next")]


async def test_a_continuation_is_interrupted_and_continued_like_any_other() -> None:
    gate = Gate()
    script = Scripted(["aaaa", gate], ["bbbb", gate], ["cccc", gate], ["dd"], ["second"])
    async with serving(script) as app, connect(app) as client:
        run = await stopped(client, gate)
        for number in range(3):
            accepted = await go_on(client, run, f"more{number}")
            assert accepted["outcome"] == "started", accepted
            run = accepted["run"]
            if number < 2:
                await gate.reached.wait()
                gate.reached.clear()
                await client.send({"type": "interrupt", "run": run, "seen": 3})
            await got(client, "settled", run=run)
        await say(client, "next")
        await drained(client, 5)
    assert [turn.continues for turn in script.turns] == [None, "aaaa", "aaaabbb", "aaaabbbccc", None]
    assert told(script.turns[-1])[1] == ("assistant", "aaaabbbcccdd")


async def test_what_can_not_be_continued_is_rejected_with_a_code() -> None:
    gate = Gate()
    script = Scripted(["a", gate], ["b"], ["c", gate], ["d", gate])
    async with serving(script) as app, connect(app) as client:
        accepted = await say(client, "first")
        await gate.reached.wait()

        async def code(run: str, id: str, data: str = "") -> str:
            return (await go_on(client, run, id, data)).get("code", "accepted")

        assert await code(accepted["run"], "while it goes") == "cannot_continue"
        assert await code("nobody", "of nobody") == "run_not_found"
        await client.send({"type": "interrupt"})
        await got(client, "settled", run=accepted["run"])
        assert await code(accepted["run"], "with text", "but shorter") == "cannot_continue"
        second = await say(client, "second")
        await got(client, "settled", run=second["run"])
        assert await code(accepted["run"], "not the last") == "cannot_continue"
        assert await code(second["run"], "finished") == "cannot_continue"
        gate.clear()
        third = await stopped(client, gate, "third")
        fourth = await go_on(client, third, "first of two")
        assert await code(third, "second of two") == "cannot_continue"
        assert await code(third, "first of two") == "accepted", "the same again is the same"
        assert len(script.turns) == 4
        assert fourth["outcome"] == "started"
        before = len(client.events)
        check_log((await core(app, of(client, "session")[0])).log.read(0))
        assert before == len([frame for frame in client.frames if "seq" in frame])


def behind_start(text: str) -> list[tuple[str, object]]:
    return [(name, data) for name, _, data in sse(text) if name not in ("session", "accepted", "user", "start")]


@pytest.mark.parametrize("said", [{"message": ""}, {}])
async def test_by_http_it_is_the_same(said: dict[str, str]) -> None:
    gate = Gate()
    script = Scripted(["One ", gate], ["two."])
    async with serving(script) as app, connect(app) as client:
        opened = await hello(client)
        first = await stopped(client, gate)
        ask = {"session": opened["session"], "token": opened["token"]} | said
        late = Http(app, "/api/agent/stream", ask | {"continues": "nobody"})
        await late.text()
        assert late.status == 404
        text = await Http(app, "/api/agent/stream", ask | {"continues": first}).text()
        names = [name for name, _, _ in sse(text)]
        assert names[:2] == ["session", "accepted"]
        assert "done" in names
        place = next(place for name, place, _ in sse(text) if name == "start")
        back = await Http(app, "/api/agent/stream", ask | {"continues": first}, {"last-event-id": place}).text()
        assert behind_start(back) == behind_start(text)
        again = Http(app, "/api/agent/stream", ask | {"continues": first})
        await again.text()
        assert again.status == 409
    assert script.turns[1].continues == "One "


async def test_nothing_seen_is_answered_anew_and_a_tool_is_gone_on_from() -> None:
    gate = Gate()
    looks: list[Step] = ["Look: ", ToolStart("t1", "search"), ToolResult("t1", output="3"), gate]
    script = Scripted([gate], ["All."], looks, ["So 3."], ["x"])
    async with serving(script) as app, connect(app) as client:
        nothing = await stopped(client, gate)
        await got(client, "done", run=(await go_on(client, nothing, "more1"))["run"])
        looked = await stopped(client, gate, "second")
        await got(client, "done", run=(await go_on(client, looked, "more2"))["run"])
        await say(client, "third")
        await drained(client, 5)
    assert (script.turns[1].continues, told(script.turns[1])) == ("", [("user", "first")])
    assert script.turns[3].continues == "Look: "
    assert script.turns[3].messages[-1].parts == (ToolOutput("t1", "3", ok=True),)
    check_history(script.turns[4].messages)
    assert [part for message in script.turns[4].messages for part in message.parts] == [
        Text("first"),
        Text("All."),
        Text("second"),
        Text("Look: "),
        ToolUse("t1", "search", None),
        ToolOutput("t1", "3", ok=True),
        Text("So 3."),
        Text("third"),
    ]


async def test_a_tool_that_was_cut_is_told_and_sections_keep_their_headings() -> None:
    gate = Gate()
    first: list[Step] = [
        SectionStart("s1", "Idea"),
        Content("Half", "s1"),
        SectionEnd("s1"),
        ToolStart("t1", "search"),
        gate,
    ]
    rest: list[Step] = [SectionStart("s2", "Proof"), Content("Whole", "s2"), SectionEnd("s2")]
    script = Scripted(first, rest, ["x"], ["Text", gate], rest, ["y"])
    async with serving(script) as app, connect(app) as client:
        run = await stopped(client, gate)
        await got(client, "done", run=(await go_on(client, run))["run"])
        await say(client, "next")
        await drained(client, 5)
        last = await stopped(client, gate, "second")
        await got(client, "done", run=(await go_on(client, last, "more2"))["run"])
        await say(client, "third")
        await drained(client, 5)
    assert told(script.turns[5])[-3:] == [
        ("user", "second"),
        ("assistant", "Text|## Proof\n\nWhole"),
        ("user", "third"),
    ]
    assert script.turns[1].messages[-1].parts == (ToolOutput("t1", FATES["cancelled"], ok=False),)
    assert told(script.turns[2]) == [
        ("user", "first"),
        ("assistant", "## Idea\n\nHalf"),
        ("user", ""),
        ("assistant", "## Proof\n\nWhole"),
        ("user", "next"),
    ]


async def test_steering_that_nobody_took_is_answered_by_what_goes_on() -> None:
    gate = Gate()
    script = Scripted(["One ", gate], ["two."], ["x"])
    async with serving(script) as app, connect(app) as client:
        accepted = await say(client, "first")
        await gate.reached.wait()
        await say(client, "in French", when_busy="steer")
        await client.send({"type": "interrupt"})
        await got(client, "settled")
        await got(client, "done", run=(await go_on(client, accepted["run"]))["run"])
        await say(client, "next")
        await drained(client, 5)
    assert told(script.turns[1]) == [("user", "first"), ("assistant", "One "), ("user", "in French")]
    assert told(script.turns[2])[-2:] == [("assistant", "two."), ("user", "next")]


async def test_one_that_is_taken_back_before_it_began_leaves_the_answer_to_be_continued() -> None:
    gate = Gate()
    refuses = stubborn(gate, [])

    async def agent(turn: Turn) -> None:
        if turn.continues is None:
            await refuses(turn)

    async with serving(agent, Settings(timeouts=Timeouts(handover=5, abandon=30))) as app, connect(app) as client:
        first = await say(client, "first")
        await drained(client, 1)
        await client.send({"type": "interrupt"})
        waits = await go_on(client, first["run"], "more1")
        assert waits["outcome"] == "started", "its task is to be gone, no more"
        assert (await go_on(client, first["run"], "meanwhile"))["code"] == "cannot_continue"
        await client.send({"type": "interrupt", "run": waits["run"]})
        assert (await got(client, "settled", run=waits["run"]))["task"] == "never_started"
        gate.set()
        more = await go_on(client, first["run"], "more2")
        await got(client, "done", run=more["run"])
        await drained(client, 40)
        session = await core(app, of(client, "session")[0])
        check_log(session.log.read(0), over=True)


async def test_it_can_be_continued_after_the_server_has_come_back() -> None:
    store, gate = MemoryStore(), Gate()
    async with serving(Scripted(["One ", gate]), store=store) as app, connect(app) as client:
        opened = await hello(client)
        run = await stopped(client, gate)
    script = Scripted(["two."])
    async with serving(script, store=store) as app, connect(app) as client:
        await hello(client, opened)
        more = await go_on(client, run)
        await got(client, "done", run=more["run"])
        assert (await go_on(client, more["run"], "finished"))["code"] == "cannot_continue"
    assert script.turns[0].continues == "One "


async def test_the_history_is_valid_whenever_it_is_cut_and_goes_on() -> None:
    story: list[Step] = [
        *(" ", Wait(1), "a", Wait(1), SectionStart("s1", "Title"), "in", SectionEnd("s1"), Wait(1)),
        *(ToolStart("t1", "search"), Wait(1), ToolResult("t1", output="1"), Wait(1), "b", Wait(1)),
    ]
    for tenths in range(5, 65, 10):
        for seen in (None, 0, 2):
            script = Scripted(story, story, ["second"])
            async with serving(script) as app, connect(app) as client:
                run = (await say(client, "first"))["run"]
                for number in range(2):
                    await asyncio.sleep(tenths / 10)
                    await client.send({"type": "interrupt"} | ({} if seen is None else {"seen": seen}))
                    await got(client, "settled", run=run)
                    if not number:
                        run = (await go_on(client, run))["run"]
                await say(client, "next")
                await drained(client, 1)
                for turn in script.turns:
                    check_history(turn.messages)
                assert script.turns[2].messages[-1].text.endswith("next")
                assert GO_ON not in str(script.turns[2].messages), "nobody said it"
                assert types(of(client, "interrupted")) == ["interrupted"] * 2
