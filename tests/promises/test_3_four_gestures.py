"""Promise 3: detach, interrupt, steer and close are four gestures; losing a tab is not a Stop."""

import asyncio

import pytest
from helpers import Http, core, cursor, drained, got, hello, of, say, serving, types

from agent_ws.agents.scripted import Gate, Scripted, Wait
from agent_ws.errors import AgentError
from agent_ws.settings import Settings, Timeouts
from agent_ws.testing.client import Client, Closed, Refused, connect, websocket_scope
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)

ORPHAN = Settings(timeouts=Timeouts(orphan=300.0, first_event=1e6, silence=1e6, run=1e6))


# Detach


async def test_a_lost_tab_is_not_a_stop() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await client.send({"message": "hi"})
            await gate.reached.wait()
            client.drop()
        await asyncio.sleep(50)
        gate.set()
        await asyncio.sleep(1)
        async with connect(app) as back:
            await hello(back, opened)
            await back.until("done")
            assert back.text() == "ab"


async def test_a_client_that_goes_before_it_is_let_in_is_no_bug() -> None:
    async with serving(Scripted(["a"])) as app:
        client = Client(app, websocket_scope(), binary=False)
        shaking_hands = asyncio.create_task(client.open())
        client.drop()
        await client.serve()
        with pytest.raises(Refused):
            await shaking_hands


async def test_a_tab_that_is_closed_in_order_is_not_a_stop_either() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "hi")
        gate.set()
        async with connect(app) as back:
            await hello(back, opened)
            await back.until("done")


async def test_an_http_stream_that_is_left_is_not_a_stop() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app, connect(app) as client:
        opened = await hello(client)
        auth = {"authorization": f"Bearer {opened['token']}"}
        stream = Http(app, "/api/agent/stream", {"session": opened["session"], "message": "hi"}, auth)
        await stream.until('"a"')
        await stream.leave()
        gate.set()
        await got(client, "done")
        assert client.text() == "ab"


async def test_a_tab_that_goes_leaves_the_other_alone() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app, connect(app) as stays:
        opened = await hello(stays)
        async with connect(app) as goes:
            await hello(goes, opened)
            await say(goes, "hi")
        gate.set()
        await got(stays, "done")
        assert stays.text() == "ab"


async def test_both_tabs_see_everything_whoever_spoke() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app, connect(app) as one, connect(app) as two:
        opened = await hello(one)
        assert (await hello(two, opened))["session"] == opened["session"]
        await say(one, "hi")
        await gate.reached.wait()
        await say(two, "and", when_busy="queue")
        gate.set()
        await asyncio.gather(drained(one), drained(two))
        assert one.text() == two.text() == "abab"
        assert [event for event in one.events if event["type"] != "content"] == [
            event for event in two.events if event["type"] != "content"
        ]
        assert types(of(one, "accepted")) == types(of(two, "accepted")) == ["accepted"], "each its own receipts"


# A run that nobody watches


async def test_a_run_that_nobody_watches_is_interrupted_in_the_end() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate]), ORPHAN) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "hi")
            left = asyncio.get_running_loop().time()
        session = await core(app, opened)
        await asyncio.sleep(299)
        assert session.going is not None
        await asyncio.sleep(2)
        async with connect(app) as back:
            await hello(back, opened)
            interrupted = await back.until("interrupted")
            assert interrupted["reason"] == "orphaned"
            assert (await back.until("settled"))["task"] == "cancelled"
        assert asyncio.get_running_loop().time() - left == pytest.approx(301)


async def test_who_comes_back_in_time_keeps_it_and_its_time_begins_anew() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"]), ORPHAN) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "hi")
        for _ in range(3):
            await asyncio.sleep(299)
            async with connect(app) as back:
                await hello(back, opened)
                await drained(back, 1000)
                assert of(back, "interrupted") == []
        gate.set()
        async with connect(app) as back:
            await hello(back, opened)
            await back.until("done")


async def test_one_tab_is_enough_and_a_reader_over_http_too() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate]), ORPHAN) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "hi")
            auth = {"authorization": f"Bearer {opened['token']}"}
            stream = Http(app, f"/api/agent/stream?session={opened['session']}", headers=auth)
            await stream.until('"a"')
        session = await core(app, opened)
        await asyncio.sleep(1000)
        assert session.going is not None
        await stream.leave()
        await asyncio.sleep(299)
        assert session.going is not None
        await asyncio.sleep(2)
        assert session.going is None


async def test_a_run_that_waited_is_not_started_for_nobody_to_go_on_for_ever() -> None:
    gate = Gate()
    async with serving(Scripted([Wait(200), "a"], ["b", gate]), ORPHAN) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "one")
            await say(client, "two")
        session = await core(app, opened)
        await asyncio.sleep(250)
        assert session.going is not None
        await asyncio.sleep(300)
        assert session.going is None
        async with connect(app) as back:
            await hello(back, opened)
            await drained(back)
            assert types(of(back, "done", "interrupted")) == ["done", "interrupted"]


# Interrupt is not close: the session goes on


async def test_after_an_interrupt_the_connection_and_the_session_go_on() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate], ["b"])) as app, connect(app) as client:
        await say(client, "one")
        await gate.reached.wait()
        await client.send({"type": "interrupt"})
        await got(client, "settled")
        await say(client, "two")
        await got(client, "done")
        assert client.text() == "ab"


async def test_nothing_goes_to_a_tab_that_has_gone() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app, connect(app) as stays:
        opened = await hello(stays)
        async with connect(app) as goes:
            await hello(goes, opened)
            await say(goes, "hi")
            await drained(goes, 1)
        gate.set()
        await got(stays, "done")
        assert "b" not in goes.text()
        with pytest.raises(Closed):
            await goes.receive()


# Steer


async def test_steering_that_is_taken_is_reported_and_moves_nothing() -> None:
    gate = Gate()

    async def agent(turn: Turn) -> None:
        turn.content("a")
        gate.reached.set()
        await gate.wait()
        turn.content(f"[{', '.join(turn.steered())}]")

    async with serving(agent) as app, connect(app) as client:
        first = await say(client, "hi")
        await gate.reached.wait()
        second = await say(client, "but", when_busy="steer")
        third = await say(client, "and", when_busy="steer")
        assert (second["outcome"], second["run"]) == (third["outcome"], third["run"]) == ("steered", first["run"])
        gate.set()
        await drained(client)
        assert client.text() == "a[but, and]"
        assert [event["steer"] for event in of(client, "user") if "steer" in event] == [True, True]
        assert [(event["state"], event["id"]) for event in of(client, "status")] == [
            ("steered", "but"),
            ("steered", "and"),
        ]
        assert types(of(client, "start", "interrupted", "done")) == ["start", "done"]


async def test_an_agent_can_wait_for_steering() -> None:
    async def agent(turn: Turn) -> str:
        return "".join(await turn.wait_steered() + await turn.wait_steered())

    async with serving(agent) as app, connect(app) as client:
        await say(client, "hi")
        for word in ("but", "and"):
            await say(client, word, when_busy="steer")
            await asyncio.sleep(1)
        await got(client, "done")
        assert client.text() == "butand"


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_steering_that_is_not_taken_gets_a_run_of_its_own(ends: str) -> None:
    gate = Gate()
    messages: list[str] = []

    async def agent(turn: Turn) -> str:
        messages.append(turn.message)
        if turn.message == "hi":
            gate.reached.set()
            await gate.wait()
            if ends == "badly":
                raise AgentError("no")
        return f"{turn.message}. "

    async with serving(agent) as app, connect(app) as client:
        first = await say(client, "hi")
        await gate.reached.wait()
        await say(client, "but", when_busy="steer")
        await say(client, "and", when_busy="steer")
        await say(client, "last", when_busy="queue")
        gate.set()
        await drained(client)
        assert messages == ["hi", "but", "and", "last"]
        moved = [event["run"] for event in of(client, "user") if event["id"] in ("but", "and")]
        assert moved[:2] == [first["run"]] * 2
        assert len(set(moved[2:])) == 2
        assert first["run"] not in moved[2:]
        again = await say(client, "but")
        assert again["run"] in moved[2:], "its answer tells where it went"


async def test_steering_when_nothing_goes_is_a_message() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        accepted = await say(client, "hi", when_busy="steer")
        assert accepted["outcome"] == "started"
        await got(client, "done")


async def test_an_interrupt_stops_steering_too_and_it_stays_in_the_history() -> None:
    gate = Gate()
    script = Scripted(["a", gate], ["b"])
    async with serving(script) as app, connect(app) as client:
        await say(client, "hi")
        await gate.reached.wait()
        await say(client, "but", when_busy="steer")
        await client.send({"type": "interrupt"})
        await got(client, "settled")
        await say(client, "next")
        await got(client, "done")
        assert len(script.turns) == 2
        assert [message.text for message in script.turns[1].messages] == ["hi", "a", "butnext"]


async def test_who_comes_back_while_steering_waits_sees_it() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "hi")
            await drained(client, 1)
            place = cursor(client, opened)
            await say(client, "but", when_busy="steer")
        async with connect(app) as back:
            await hello(back, opened, **place)
            assert (await back.until("user"))["id"] == "but"
            gate.set()
            await back.until("done")
