"""Promise 6: a message is started, queued, steered or rejected with a code; `accepted` means that the store has it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from helpers import Frame, Http, core, cursor, drained, got, hello, of, say, serving, stubborn, types

from agent_ws.agents.scripted import Gate, Scripted, Wait
from agent_ws.errors import StoreError
from agent_ws.events import Request
from agent_ws.session import Session
from agent_ws.settings import Limits, Settings, Timeouts, WhenBusy
from agent_ws.stores import Batch, MemoryStore
from agent_ws.stores.base import BatchError
from agent_ws.testing.client import Client, Closed, connect
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)


def outcomes(client: Client) -> dict[str, str]:
    """What each message was answered with: its outcome, or the code of its refusal."""
    return {frame["id"]: frame.get("outcome") or frame["code"] for frame in of(client, "accepted", "rejected")}


# The policies, while a run is going


@pytest.mark.parametrize(
    ("policy", "outcome", "first_ends", "messages"),
    [
        ("queue", "queued", "done", ["a", "b"]),
        ("interrupt", "started", "interrupted", ["a", "b"]),
        ("steer", "steered", "done", ["a", "b"]),
        ("reject", "busy", "done", ["a"]),
    ],
)
@pytest.mark.parametrize("told", ["by the message", "by the connection", "by the settings"])
async def test_policies(policy: WhenBusy, outcome: str, first_ends: str, messages: list[str], told: str) -> None:
    gate = Gate()
    script = Scripted(["one", gate], ["two"])
    settings = Settings(when_busy=policy if told == "by the settings" else "queue")
    async with serving(script, settings) as app, connect(app) as client:
        options: dict[str, Any] = {"when_busy": policy}
        await hello(client, None, **(options if told == "by the connection" else {}))
        first = await say(client, "a")
        await gate.reached.wait()
        await say(client, "b", **(options if told == "by the message" else {}))
        gate.set()
        await drained(client)
        assert outcomes(client) == {"a": "started", "b": outcome}
        assert [turn.message for turn in script.turns] == messages
        assert types(of(client, "done", "interrupted"))[0] == first_ends
        assert {frame["run"] for frame in of(client, "done", "interrupted")} >= {first["run"]}
        assert [frame["reason"] for frame in of(client, "interrupted")] == ["superseded"] * (policy == "interrupt")


@pytest.mark.parametrize("policy", ["queue", "interrupt", "steer", "reject"])
async def test_when_nothing_goes_every_policy_starts(policy: str) -> None:
    async with serving(Scripted(["one"])) as app, connect(app) as client:
        assert (await say(client, "a", when_busy=policy))["outcome"] == "started"
        await got(client, "done")


async def test_the_message_s_own_policy_wins() -> None:
    gate = Gate()
    async with serving(Scripted([gate]), Settings(when_busy="interrupt")) as app, connect(app) as client:
        await hello(client, when_busy="reject")
        await say(client, "a")
        await say(client, "b", when_busy="queue")
        await say(client, "c")
        assert outcomes(client) == {"a": "started", "b": "queued", "c": "busy"}
        gate.set()


async def test_the_queue_is_first_in_first_out_and_has_a_limit() -> None:
    gate = Gate()
    script = Scripted(["x", gate])
    async with serving(script, Settings(limits=Limits(queued=2))) as app, connect(app) as client:
        for name in "abcd":
            await say(client, name)
        assert outcomes(client) == {"a": "started", "b": "queued", "c": "queued", "d": "queue_full"}
        gate.set()
        await drained(client)
        assert [turn.message for turn in script.turns] == ["a", "b", "c"]
        assert (await say(client, "d"))["outcome"] == "started", "a refused message may be sent again"


async def test_steering_that_waits_to_be_taken_has_the_same_limit() -> None:
    gate = Gate()
    script = Scripted(["x", gate])
    async with serving(script, Settings(limits=Limits(queued=2))) as app, connect(app) as client:
        await say(client, "a")
        for name in "bcd":
            await say(client, name, when_busy="steer")
        assert outcomes(client) == {"a": "started", "b": "steered", "c": "steered", "d": "queue_full"}
        gate.set()
        await drained(client)
        assert [turn.message for turn in script.turns] == ["a", "b", "c"]


async def test_an_interrupting_message_goes_before_those_that_wait() -> None:
    gate = Gate()
    script = Scripted(["x", gate], ["y"])
    async with serving(script) as app, connect(app) as client:
        await say(client, "a")
        await gate.reached.wait()
        await say(client, "waits")
        await say(client, "now", when_busy="interrupt")
        await drained(client)
        assert [turn.message for turn in script.turns] == ["a", "now", "waits"]
        assert types(of(client, "done", "interrupted")) == ["interrupted", "done", "done"]


@pytest.mark.parametrize(
    ("policy", "outcome", "told"),
    [
        ("queue", "queued", ["a", "b", "c"]),
        ("interrupt", "started", ["a", "c"]),
        ("steer", "steered", ["a", "b", "c"]),
        ("reject", "busy", ["a", "b"]),
    ],
)
async def test_a_run_that_waits_for_a_task_to_be_gone_counts_as_going(
    policy: str, outcome: str, told: list[str]
) -> None:
    gate, messages = Gate(), list[str]()
    stays = stubborn(gate, [])

    async def agent(turn: Turn) -> None:
        messages.append(turn.message)
        if turn.message == "a":
            await stays(turn)
        elif turn.message == "b":
            await asyncio.sleep(10)
            messages.extend(turn.steered())

    async with serving(agent) as app, connect(app) as client:
        await say(client, "a")
        await gate.reached.wait()
        await say(client, "b", when_busy="interrupt")
        await say(client, "c", when_busy=policy)
        await drained(client)
        assert outcomes(client) == {"a": "started", "b": "started", "c": outcome}
        assert messages == told
        gate.set()


async def test_a_queued_run_begins_when_the_one_before_is_gone() -> None:
    async def agent(turn: Turn) -> None:
        turn.content(turn.message)
        await asyncio.sleep(1)

    async with serving(agent) as app, connect(app) as client:
        await asyncio.gather(client.send({"message": "a"}), client.send({"message": "b"}))
        await drained(client)
        assert types([event for event in client.events if event["type"] != "user"]) == [
            *("start", "content", "done", "settled"),
            *("start", "content", "done", "settled"),
        ]


@pytest.mark.parametrize("data", ["", " ", "\n\t "])
async def test_an_empty_message_is_refused_and_changes_nothing(data: str) -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        await hello(client)
        await client.send({"type": "message", "data": data, "id": "c1", "when_busy": "interrupt"})
        assert (await client.until("rejected"))["code"] == "empty_message"
        await client.send({"message": data})
        assert "id" not in await client.until("rejected")
        await drained(client, 1)
        assert client.events == []


async def test_an_answer_without_an_id_of_the_client_s_names_one() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        await client.send({"message": "hi"})
        accepted = await got(client, "accepted")
        assert accepted["id"] == (await got(client, "user"))["id"]


# Idempotent


async def test_sent_twice_it_is_run_once_and_answered_twice() -> None:
    script = Scripted(["a"])
    async with serving(script) as app, connect(app) as client:
        for _ in range(3):
            await client.send({"type": "message", "data": "hi", "id": "c1"})
        await drained(client)
        answers = of(client, "accepted")
        assert len(answers) == 3
        assert answers[0] == answers[1] == answers[2]
        assert len(script.turns) == len(of(client, "user")) == 1


async def test_on_two_connections_at_once_it_is_run_once() -> None:
    script = Scripted([Wait(1), "a"])
    async with serving(script) as app, connect(app) as one, connect(app) as two:
        opened = await hello(one)
        await hello(two, opened)
        frame = {"type": "message", "data": "hi", "id": "c1"}
        await asyncio.gather(one.send(frame), two.send(frame))
        await asyncio.gather(drained(one), drained(two))
        assert of(one, "accepted") == of(two, "accepted")
        assert len(of(one, "accepted")) == len(script.turns) == 1


async def test_sent_again_after_the_connection_was_lost() -> None:
    script = Scripted(["a"])
    async with serving(script) as app:
        async with connect(app) as client:
            opened = await hello(client)
            first = await say(client, "hi")
        async with connect(app) as back:
            await hello(back, opened)
            assert await say(back, "hi") == first
            await drained(back)
            assert len(script.turns) == 1


async def test_over_http_and_websocket_it_is_the_same_message() -> None:
    script = Scripted(["a"])
    async with serving(script) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        body = {"session": opened["session"], "token": opened["token"], "message": "hi", "id": "hi"}
        text = await Http(app, "/api/agent/stream", body).text()
        assert '"content":"a"' in text
        assert len(script.turns) == 1


async def test_one_id_in_two_sessions_is_two_messages() -> None:
    script = Scripted(["a"])
    async with serving(script) as app, connect(app) as one, connect(app) as two:
        await asyncio.gather(say(one, "hi"), say(two, "hi"))
        await asyncio.gather(drained(one), drained(two))
        assert len(script.turns) == 2


# The store


class Slow(MemoryStore):
    """A store whose saves wait for `gate`, and fail while `broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.broken = False
        self.refused = ""
        """The session of which it takes nothing."""

    async def save(self, batches: Sequence[Batch]) -> None:
        await self.gate.wait()
        if self.broken:
            raise StoreError("the disk is full")
        if self.refused in {batch.session for batch in batches}:
            raise BatchError(self.refused, "another process wrote to it")
        await super().save(batches)


@pytest.fixture
def slow() -> Slow:
    return Slow()


async def test_accepted_means_that_the_store_has_it(slow: Slow) -> None:
    async with serving(Scripted(["a"]), store=slow) as app, connect(app) as client:
        await client.send({"type": "message", "data": "hi", "id": "c1"})
        await client.until("done")
        await drained(client)
        assert of(client, "accepted") == [], "the run does not wait for the store, the ack does"
        slow.gate.set()
        assert (await client.until("accepted"))["id"] == "c1"


async def test_a_store_that_fails_is_a_refusal_and_the_message_may_be_sent_again(slow: Slow) -> None:
    slow.gate.set()
    gate = Gate()
    script = Scripted(["a", gate], ["b"])
    async with serving(script, store=slow) as app, connect(app) as client:
        await hello(client)
        await drained(client, 1)
        slow.broken = True
        refused = await say(client, "hi")
        assert (refused["type"], refused["code"]) == ("rejected", "store_failed")
        error = await got(client, "error")
        assert error["code"] == "store_failed"
        assert (await say(client, "hi"))["code"] == "store_failed", "while it fails nothing is begun"
        assert len(script.turns) == 1
        slow.broken = False
        await drained(client, 30)
        accepted = await say(client, "hi")
        assert accepted["outcome"] == "started"
        assert accepted["run"] != error["run"]
        await got(client, "done")
        assert [message.text for message in script.turns[1].messages] == ["hi", "a", "hi"]


async def test_steering_that_the_store_did_not_take_is_not_run_either(slow: Slow) -> None:
    slow.gate.set()
    gate = Gate()
    script = Scripted(["a", gate], ["b"])
    async with serving(script, store=slow) as app, connect(app) as client:
        await say(client, "hi")
        await drained(client, 1)
        slow.broken = True
        refused = await say(client, "but", when_busy="steer")
        assert (refused["type"], refused["code"]) == ("rejected", "store_failed")
        slow.broken = False
        gate.set()
        await drained(client, 30)
        assert types(of(client, "done", "error")) == ["done"], "the run that it would have steered went on"
        assert [turn.message for turn in script.turns] == ["hi"]


async def test_a_message_that_the_store_has_is_accepted_again_while_the_store_fails(slow: Slow) -> None:
    slow.gate.set()
    gate = Gate()
    script = Scripted(["a", gate, "b"])
    async with serving(script, store=slow) as app, connect(app) as client:
        accepted = await say(client, "hi")
        await drained(client, 1)
        slow.broken = True
        assert (await say(client, "more"))["code"] == "store_failed"
        assert await say(client, "hi") == accepted
        gate.set()
        await drained(client)
        assert types(of(client, "done", "error")) == ["error", "done"], "only the message that was refused has failed"
        assert client.text() == "ab"


async def test_steering_that_moved_before_the_store_refused_it_is_not_run_either(slow: Slow) -> None:
    slow.gate.set()
    gate = Gate()
    script = Scripted([gate], [Wait(20), "but"])
    async with serving(script, store=slow) as app, connect(app) as client:
        await say(client, "hi")
        await drained(client, 1)
        slow.broken = True
        await client.send({"type": "message", "data": "but", "id": "but", "when_busy": "steer"})
        await drained(client, 0.1)
        gate.set()
        assert (await got(client, "rejected"))["code"] == "store_failed"
        assert [turn.message for turn in script.turns] == ["hi", "but"], "it has moved"
        await drained(client)
        assert client.text() == ""
        slow.broken = False
        await drained(client)
        assert (await say(client, "but"))["outcome"] == "started"
        await drained(client)
        assert client.text() == "but"


async def test_a_message_that_has_moved_is_accepted_in_its_new_place_once_the_store_has_that(slow: Slow) -> None:
    slow.gate.set()
    gate, end = Gate(), Gate()
    script = Scripted([gate], ["but", end])
    async with serving(script, store=slow) as app, connect(app) as client:
        await say(client, "hi")
        first = await say(client, "but", when_busy="steer")
        slow.broken = True
        gate.set()
        await drained(client, 5)
        assert [turn.message for turn in script.turns] == ["hi", "but"], "it has moved, and the store does not know"
        refused = await say(client, "but")
        assert (refused["type"], refused["code"]) == ("rejected", "store_failed")
        slow.broken = False
        await drained(client, 30)
        accepted = await say(client, "but")
        assert accepted["run"] != first["run"]
        assert len(script.turns) == 2
        end.set()
        await drained(client)
        assert types(of(client, "done", "error")) == ["done", "done"], "nothing was undone of what was accepted"


async def test_a_session_that_the_store_refuses_begins_nothing_and_comes_back_as_the_store_has_it(slow: Slow) -> None:
    slow.gate.set()
    script = Scripted(["a"])
    async with serving(script, store=slow) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "hi")
            await drained(client, 1)
            slow.refused = opened["session"]
            assert (await say(client, "lost"))["code"] == "store_failed"
            await drained(client, 1)
            assert (await say(client, "never"))["code"] == "store_failed"
            await drained(client, 1)
            assert [turn.message for turn in script.turns] == ["hi", "lost"]
            place = cursor(client, opened)
        slow.refused = ""
        async with connect(app) as back:
            await hello(back, opened, **place)
            assert (await got(back, "reset"))["reason"] == "ahead"
            assert (await say(back, "never"))["outcome"] == "started"
            await got(back, "done")
            await drained(back, 1)
            assert [frame["data"] for frame in of(back, "user")] == ["hi", "never"]


# The agent asks


def asks(**options: Any) -> Any:
    async def agent(turn: Turn) -> str:
        return f"got {await turn.ask('approval', 'Delete?', **options)}"

    return agent


async def test_a_reply_from_any_tab_wins_and_only_the_first() -> None:
    async with serving(asks()) as app, connect(app) as one, connect(app) as two:
        opened = await hello(one)
        await hello(two, opened)
        await say(one, "hi")
        request = (await two.until("request"))["request"]
        await two.send({"type": "reply", "request": request, "data": {"approved": True}})
        await one.until("resolved")
        await one.send({"type": "reply", "request": request, "data": {"approved": False}})
        assert (await got(one, "error"))["code"] == "request_not_open"
        await asyncio.gather(drained(one), drained(two))
        for tab in (one, two):
            assert [(frame["outcome"], frame["data"]) for frame in of(tab, "resolved")] == [
                ("replied", {"approved": True})
            ]
            assert tab.text() == "got {'approved': True}"
        assert of(two, "error") == []


@pytest.mark.virtual(seeds=10)
async def test_two_replies_at_once_have_one_winner_and_one_answer() -> None:
    async with serving(asks()) as app, connect(app) as one, connect(app) as two:
        opened = await hello(one)
        await hello(two, opened)
        await say(one, "hi")
        request = (await two.until("request"))["request"]
        frame = {"type": "reply", "request": request}
        await asyncio.gather(one.send(frame | {"data": 1}), two.send(frame | {"data": 2}))
        await asyncio.gather(drained(one), drained(two))
        assert len(of(one, "resolved")) == 1
        assert len(of(one, "error")) + len(of(two, "error")) == 1
        assert one.text() == f"got {of(one, 'resolved')[0]['data']}"


async def test_a_request_waits_for_a_tab_that_comes_later_and_is_told_of_what_it_lacks() -> None:
    async with serving(asks()) as app:
        async with connect(app) as one:
            opened = await hello(one)
            await say(one, "hi")
            asked = await got(one, "request")
            place = cursor(one, opened)
        async with connect(app) as new, connect(app) as back:
            await hello(new, opened)  # with nothing: it gets the request
            await hello(back, opened, **place)  # it has it
            assert (await new.until("request"))["request"] == asked["request"]
            await new.send({"type": "reply", "request": asked["request"], "data": {"approved": True}})
            await asyncio.gather(got(new, "done"), got(back, "done"))
            assert types(of(back, "request", "resolved")) == ["resolved"]
            assert back.text() == new.text() == "got {'approved': True}"


@pytest.mark.parametrize("by", ["the tab that asked", "another tab"])
async def test_a_stop_takes_a_request_back(by: str) -> None:
    async with serving(asks()) as app, connect(app) as one, connect(app) as two:
        opened = await hello(one)
        await hello(two, opened)
        await say(one, "hi")
        request = (await two.until("request"))["request"]
        await (one if by == "the tab that asked" else two).send({"type": "interrupt"})
        for tab in (one, two):
            await got(tab, "interrupted")
            assert [frame["outcome"] for frame in of(tab, "resolved")] == ["cancelled"]
        await two.send({"type": "reply", "request": request, "data": {"approved": True}})
        assert (await got(two, "error"))["code"] == "request_not_open"


async def test_a_request_that_nobody_answers_expires() -> None:
    async with serving(asks(timeout=120)) as app, connect(app) as client:
        await say(client, "hi")
        request = await got(client, "request")
        assert request["expires"] - request["at"] == 120
        await got(client, "done")
        assert of(client, "resolved")[0]["outcome"] == "expired"
        assert client.text() == "got None"
        await client.send({"type": "reply", "request": request["request"], "data": True})
        assert (await got(client, "error"))["code"] == "request_not_open"


async def test_a_reply_in_the_tick_in_which_the_request_expires_is_taken() -> None:
    loop = asyncio.get_running_loop()
    sessions: list[Session] = []

    async def agent(turn: Turn) -> str:
        def reply() -> None:
            [request] = [event.request for event in sessions[0].log.read(0) if isinstance(event, Request)]
            sessions[0].reply(request, "yes")

        loop.call_at(loop.time() + 5 - 1e-10, reply)  # just before the limit, and in the same tick for the clock
        return f"got {await turn.ask('question', 'Sure?', timeout=5)}"

    async with serving(agent) as app, connect(app) as client:
        sessions.append(await core(app, await hello(client)))
        await say(client, "hi")
        await drained(client)
        assert [frame["outcome"] for frame in of(client, "resolved")] == ["replied"]
        assert types(of(client, "done", "error")) == ["done"]
        assert client.text() == "got yes"


@pytest.mark.parametrize("request_id", ["nobody", "q1"])
async def test_a_reply_to_no_request_is_an_error(request_id: str) -> None:
    async with serving(asks()) as app, connect(app) as client:
        await hello(client)
        await client.send({"type": "reply", "request": request_id, "data": 1})
        assert (await client.until("error"))["code"] == "request_not_open"


async def test_a_reply_over_http() -> None:
    async with serving(asks()) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        request = (await got(client, "request"))["request"]
        body = {"session": opened["session"], "token": opened["token"], "request": request, "data": 7}
        assert await Http(app, "/api/agent/reply", body).json() == {"resolved": request}
        again = Http(app, "/api/agent/reply", body)
        assert (await again.json())["error"]["code"] == "request_not_open"
        assert again.status == 409
        await got(client, "done")
        assert client.text() == "got 7"


async def test_a_reply_that_some_client_could_not_print_is_refused_and_the_request_stays_open() -> None:
    async with (
        serving(asks()) as app,
        connect(app) as client,
        connect(app, subprotocols=["agent-ws.v1.msgpack"]) as tab,
    ):
        opened = await hello(client)
        await hello(tab, opened)
        await say(client, "hi")
        request = (await got(client, "request"))["request"]
        for data in (10**30, "x"):
            await client.send({"type": "reply", "request": request, "data": data})
        await tab.until("done")
        assert (await got(client, "error"))["code"] == "bad_frame"
        assert tab.text() == "got x"


# The shutdown


async def test_a_drain_refuses_what_is_new_and_lets_a_run_end() -> None:
    gate = Gate()
    script = Scripted(["a", gate, "b"])
    async with serving(script, Settings(timeouts=Timeouts(drain=10))) as app, connect(app) as client:
        await say(client, "hi")
        await gate.reached.wait()
        draining = asyncio.create_task(app.state.gateway.drain())
        await asyncio.sleep(1)
        refused = await say(client, "more")
        assert (refused["type"], refused["code"]) == ("rejected", "shutting_down")
        gate.set()
        await got(client, "done")
        assert client.text() == "ab"
        await drained_to_close(client, 4503)
        await draining


async def test_a_drain_interrupts_what_does_not_end() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate]), Settings(timeouts=Timeouts(drain=10))) as app, connect(app) as client:
        await say(client, "hi")
        waits = await say(client, "waits")
        began = asyncio.get_running_loop().time()
        draining = asyncio.create_task(app.state.gateway.drain())
        interrupted = await got(client, "interrupted")
        assert interrupted["reason"] == "shutdown"
        await got(client, "interrupted", run=waits["run"])
        assert asyncio.get_running_loop().time() - began == pytest.approx(10)
        await drained_to_close(client, 4503)
        await draining


async def test_a_drain_does_not_wait_for_a_message_that_will_not_begin() -> None:
    async with serving(Scripted(["a", Wait(1)]), Settings(timeouts=Timeouts(drain=10))) as app, connect(app) as client:
        await say(client, "hi")
        waits = await say(client, "waits")
        began = asyncio.get_running_loop().time()
        draining = asyncio.create_task(app.state.gateway.drain())
        assert (await got(client, "interrupted", run=waits["run"]))["reason"] == "shutdown"
        assert asyncio.get_running_loop().time() - began == pytest.approx(1)
        await drained_to_close(client, 4503)
        await draining
        assert types(of(client, "done")) == ["done"]


async def drained_to_close(client: Client, code: int) -> Frame:
    with pytest.raises(Closed) as closed:
        await drained(client)
    assert closed.value.code == code
    return client.frames[-1]
