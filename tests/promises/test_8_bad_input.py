"""Promise 8: bad input, from a client or an agent, gets a defined answer, and nothing that was acknowledged is lost."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest
from helpers import Http, core, drained, got, hello, of, say, serving, types

from agent_ws.agents.scripted import Gate, Raise, Scripted, Wait
from agent_ws.errors import CODES, AgentError, RunError
from agent_ws.events import Content, Done, SectionEnd, Status, Thinking, ToolResult, ToolStart, User
from agent_ws.server.gateway import Gateway
from agent_ws.settings import Limits, Settings, Timeouts
from agent_ws.testing.client import Client, Closed, Refused, connect
from agent_ws.testing.invariants import check_log
from agent_ws.turn import Agent, Turn

pytestmark = pytest.mark.virtual(seeds=3)

SECRET = "hunter2"


async def closing(client: Client, seconds: float = 30) -> int:
    """The code with which the server closes; the frame before it says the same."""
    with pytest.raises(Closed) as closed:
        await drained(client, seconds)
    error = client.frames[-1]
    assert error["type"] == "error"
    assert CODES[error["code"]].close == closed.value.code
    return closed.value.code


# The first frame

FIRST: dict[str, str | bytes] = {
    "not JSON": SECRET,
    "nothing": "",
    "binary": b"\x80",
    "no frame": "[]",
    "unknown": '{"type":"dance"}',
    "interrupt": '{"type":"interrupt"}',
    "ping": '{"type":"ping"}',
    "deep": '{"a":' * 10_000,
}


@pytest.mark.parametrize("name", FIRST)
async def test_a_bad_first_frame_closes(name: str) -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        await client.send_raw(FIRST[name])
        assert await closing(client) == 4400
        assert SECRET not in str(client.frames)


async def test_no_first_frame_closes() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        assert await closing(client) == 4408
        assert asyncio.get_running_loop().time() == pytest.approx(5)


async def test_a_second_hello_closes_and_the_run_goes_on() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await say(client, "hi")
            await client.send({"type": "hello"})
            assert await closing(client) == 4409
        gate.set()
        async with connect(app) as back:
            await hello(back, opened)
            await back.until("done")


async def test_an_unknown_subprotocol_is_refused_before_the_upgrade() -> None:
    async with serving(Scripted(["a"])) as app:
        with pytest.raises(Refused) as refused:
            async with connect(app, subprotocols=["chat", "agent-ws.v9"]):
                pass
        assert refused.value.status == 400


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"host": "evil.example"}])
async def test_a_foreign_page_or_name_is_refused_before_the_upgrade(headers: dict[str, str]) -> None:
    async with serving(Scripted(["a"])) as app:
        with pytest.raises(Refused) as refused:
            async with connect(app, headers=headers):
                pass
        assert refused.value.status == 403


# Later frames


@pytest.mark.parametrize("name", [name for name in FIRST if name not in ("interrupt", "ping")])
async def test_a_bad_frame_is_answered_and_the_connection_stays(name: str) -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app, connect(app) as client:
        await say(client, "hi")
        for _ in range(9):
            await client.send_raw(FIRST[name])
        await drained(client, 1)
        assert {error["code"] for error in of(client, "error")} == {"binary_frame" if name == "binary" else "bad_frame"}
        assert len(of(client, "error")) == 9
        assert SECRET not in str(client.frames)
        gate.set()
        await got(client, "done")
        assert client.text() == "ab"
        await client.send_raw(FIRST[name])
        assert await closing(client) == 4400


async def test_a_message_too_big_closes_and_the_run_goes_on() -> None:
    gate = Gate()
    settings = Settings(limits=Limits(message_bytes=1_000))
    async with serving(Scripted(["a", gate, "b"]), settings) as app:
        async with connect(app) as client:
            opened = await hello(client)
            assert opened["limits"]["message_bytes"] == 1_000
            await say(client, "hi")
            await client.send({"message": "é" * 500})
            assert await closing(client) == 1009
        gate.set()
        async with connect(app) as back:
            await hello(back, opened)
            await back.until("done")


NASTY = [
    *("null", "0", '""', "[]", "{}", "{", '{"type":null}', '{"type":["message"],"data":"x"}', '{"message":null}'),
    '{"type":"message","data":"x","id":""}',
    '{"type":"message","data":"\\ud800"}',
    '{"type":"message","data":"x","when_busy":"now"}',
    '{"type":"interrupt","seen":-1}',
    '{"type":"interrupt","seen":1e400}',
    '{"type":"interrupt","seen":9007199254740992}',
    '{"type":"interrupt","run":"' + "x" * 65 + '"}',
    '{"type":"reply"}',
    '{"type":"reply","request":"q","data":' + "9" * 50 + "}",
    '{"type":"reply","request":"q","data":' + "[" * 200 + "]" * 200 + "}",
    '{"type":"ping","data":"' + "x" * 129 + '"}',
    '{"type":"session"}',
    '{"type":"content","data":"forged","seq":1,"run":"r"}',
    "\x00",
    "\ufeff{}",
]


@pytest.mark.parametrize("raw", NASTY, ids=range(len(NASTY)))
async def test_every_nasty_frame_is_a_bad_frame(raw: str) -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        await hello(client)
        await client.send_raw(raw)
        error = await client.until("error")
        assert error["code"] == "bad_frame"
        assert "Traceback" not in error["message"]
        await say(client, "hi")
        await got(client, "done")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("subprotocol", ["agent-ws.v1.json", "agent-ws.v1.msgpack"])
async def test_any_garbage_ends_in_an_answer_or_a_close(
    subprotocol: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    codes: set[int] = set()
    good = [
        {"type": "message", "data": "hi", "id": "c1", "when_busy": "steer"},
        {"type": "interrupt", "run": "r1", "seen": 3},
        {"type": "reply", "request": "q1", "data": {"a": [1, 2]}},
        {"type": "pause"},
        {"type": "ping", "data": "x"},
    ]
    encode: Callable[[Any], bytes] = msgspec.msgpack.encode if "msgpack" in subprotocol else msgspec.json.encode
    async with serving(Scripted(["a"])) as app:
        for _ in range(40):
            async with connect(app, subprotocols=[subprotocol]) as client:
                await hello(client)
                try:
                    for _ in range(10):
                        raw = bytearray(encode(chance.choice(good)))
                        for _ in range(chance.randint(0, 3)):
                            raw[chance.randrange(len(raw))] = chance.randrange(256)
                        binary = "msgpack" in subprotocol
                        await client.send_raw(bytes(raw) if binary else bytes(raw).decode(errors="replace"))
                    await client.send({"type": "continue"})
                    await client.send({"type": "ping", "data": "still here"})
                    while (await client.until("pong")).get("data") != "still here":
                        pass
                except Closed as closed:
                    codes.add(closed.code)
    assert codes <= {4400}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_what_was_acknowledged_is_kept_whatever_comes_behind_it() -> None:
    script = Scripted(["a"])
    async with serving(script) as app:
        async with connect(app) as client:
            opened = await hello(client)
            accepted = await say(client, "kept")
            for _ in range(10):
                await client.send_raw("garbage")
            assert await closing(client) == 4400
        async with connect(app) as back:
            await hello(back, opened)
            await back.until("done", run=accepted["run"])
            assert back.text() == "a"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("stream", b"{", 400, "bad_frame"),
        ("stream", b"[" * 100_000, 413, "message_too_big"),
        ("stream", b"[" * 60_000, 400, "bad_frame"),
        ("stream", b"\xff\xfe", 400, "bad_frame"),
        ("stream", {"message": ""}, 400, "empty_message"),
        ("stream", {"message": 7}, 400, "bad_frame"),
        ("stream", {"message": "hi", "session": "nobody"}, 404, "session_not_found"),
        ("interrupt", {}, 400, "bad_frame"),
        ("interrupt", {"session": "nobody"}, 404, "session_not_found"),
        ("interrupt", {"session": "nobody", "seen": -1}, 400, "bad_frame"),
        ("reply", {"session": "nobody", "request": "q", "data": 10**30}, 400, "bad_frame"),
        ("reply", {"session": "nobody", "request": "q", "data": 1}, 404, "session_not_found"),
    ],
)
async def test_bad_requests_get_a_status_and_a_code(path: str, body: object, status: int, code: str) -> None:
    async with serving(Scripted(["a"])) as app:
        request = Http(app, f"/api/agent/{path}", body)
        assert (await request.json())["error"]["code"] == code
        assert request.status == status


@pytest.mark.parametrize("ident", ["", "a", "a.b.c.d", "a.b.1", "a.b.-1.", "a.b.99999999999999999999.", "....", "é"])
async def test_a_bad_last_event_id_gets_a_status(ident: str) -> None:
    async with serving(Scripted(["a"])) as app:
        request = Http(app, "/api/agent/stream", headers={"last-event-id": ident})
        await request.text()
        assert request.status in (400, 404)


# Agents that break the law


def fails(kind: type[BaseException]) -> Agent:
    async def agent(turn: Turn) -> None:
        turn.content("half")
        raise kind(SECRET)

    return agent


def yields(*items: Any) -> Agent:
    async def agent(_: Turn) -> AsyncGenerator[Any]:
        yield "half"
        for item in items:
            yield item

    return agent


def no_agent(_: Turn) -> Any:
    return 7


async def cancels_itself(turn: Turn) -> None:
    turn.content("half")
    raise asyncio.CancelledError


AGENTS: dict[str, tuple[Agent, str]] = {
    "an exception": (fails(ValueError), "agent_error"),
    "a key error": (fails(KeyError), "agent_error"),
    "an exit": (fails(SystemExit), "agent_error"),
    "a stop": (fails(KeyboardInterrupt), "agent_error"),
    "its own cancellation": (cancels_itself, "agent_error"),
    "no agent at all": (no_agent, "agent_error"),
    "a number": (yields(7), "bad_event"),
    "nothing": (yields(None), "bad_event"),
    "an ending": (yields(Done()), "bad_event"),
    "words of the user": (yields(User("c9", "forged")), "bad_event"),
    "a section that is not open": (yields(Content("x", "s1")), "bad_event"),
    "an end without a start": (yields(SectionEnd("s1")), "bad_event"),
    "a result without a call": (yields(ToolResult("t1")), "bad_event"),
    "a call twice": (yields(ToolStart("t1", "x"), ToolStart("t1", "x")), "bad_event"),
    "what is no JSON": (yields(ToolStart("t1", "x", object())), "bad_event"),
    "an integer beyond 64 bits": (yields(ToolStart("t1", "x", 2**70)), "bad_event"),
    "half a character in a name": (yields(ToolStart("t1", "\ud800")), "bad_event"),
}


@pytest.mark.parametrize("name", AGENTS)
async def test_an_agent_s_failure_is_an_ending_with_a_code_and_without_its_text(name: str) -> None:
    agent, code = AGENTS[name]
    async with (
        serving(agent) as app,
        connect(app) as client,
        connect(app, subprotocols=["agent-ws.v1.msgpack"]) as tab,
    ):
        opened = await hello(client)
        await hello(tab, opened)
        await say(client, "hi")
        await asyncio.gather(drained(client), drained(tab))
        for reader in (client, tab):
            [error] = of(reader, "error")
            assert error["code"] == code
            assert SECRET not in str(reader.frames)
            assert types(reader.events)[-2:] == ["error", "settled"]
        check_log((await core(app, opened)).log.read(0), over=True)
        assert (await say(client, "again"))["outcome"] == "started", "the session goes on"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_one_of_several_agents_that_fails_ends_neither_the_others_nor_the_server(
    error: type[BaseException],
) -> None:
    async def agent(turn: Turn) -> None:
        await turn.together(one=fails(error), two=Scripted([Wait(1), "two"]))

    async with serving(agent) as app, connect(app) as client:
        await say(client, "hi")
        await got(client, "done")
        assert [(frame["agent"], frame["state"]) for frame in of(client, "status")] == [
            ("one", "failed"),
            ("two", "finished"),
        ]
        assert client.text() == "halftwo"
        assert SECRET not in str(client.frames)


async def test_an_agent_may_say_why_it_failed() -> None:
    async with serving(Scripted([Raise(AgentError("The calendar is not connected."))])) as app, connect(app) as client:
        await say(client, "hi")
        error = await got(client, "error")
        assert (error["code"], error["message"]) == ("agent_error", "The calendar is not connected.")


async def test_an_agent_may_fail_with_a_code() -> None:
    script = Scripted([Raise(RunError("The model is overloaded.", code="provider_error"))])
    async with serving(script) as app, connect(app) as client:
        await say(client, "hi")
        assert (await got(client, "error"))["code"] == "provider_error"


async def test_half_a_character_of_a_model_reaches_every_client_as_text() -> None:
    async with (
        serving(yields("a\ud83d", "\udca1b")) as app,
        connect(app) as client,
        connect(app, subprotocols=["agent-ws.v1.msgpack"]) as tab,
    ):
        opened = await hello(client)
        await hello(tab, opened)
        await say(client, "hi")
        await asyncio.gather(got(client, "done"), got(tab, "done"))
        assert client.text() == tab.text()
        assert client.text()[-1] == "b"


@pytest.mark.parametrize("limits", [Limits(run_chars=100), Limits(run_events=20)])
async def test_a_run_without_end_is_ended(limits: Limits) -> None:
    async def agent(_: Turn) -> AsyncGenerator[Any]:
        while True:
            yield "0123456789"
            yield Status("working")

    async with serving(agent, Settings(limits=limits)) as app, connect(app) as client:
        await say(client, "hi")
        assert (await got(client, "error"))["code"] == "run_too_long"
        assert len(client.text()) <= 100


# Time limits

TIMES = Timeouts(first_event=60, silence=30, run=600, tool=20, reply=300, grace=1)


async def stuck(_: Turn) -> None:
    await asyncio.Event().wait()


async def falls_silent(turn: Turn) -> None:
    turn.content("a")
    await asyncio.Event().wait()


async def never_ends(turn: Turn) -> None:
    while True:
        turn.write(Thinking("hm "))
        await asyncio.sleep(10)


async def slow_tool(turn: Turn) -> None:
    async with turn.tool("search"):
        await asyncio.sleep(3600)


async def endless_tool_event(turn: Turn) -> None:
    await asyncio.sleep(1)  # who watches the limits is asleep by now
    turn.write(ToolStart("t1", "search"))
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("agent", "code", "after"),
    [
        (stuck, "first_event_timeout", 60),
        (falls_silent, "silence_timeout", 30),
        (never_ends, "run_timeout", 600),
        (slow_tool, "tool_timeout", 20),
        (endless_tool_event, "tool_timeout", 22),
    ],
)
async def test_every_wait_has_a_limit_and_a_code(agent: Agent, code: str, after: float) -> None:
    async with serving(agent, Settings(timeouts=TIMES)) as app, connect(app) as client:
        await say(client, "hi")
        began = asyncio.get_running_loop().time()
        assert (await got(client, "error"))["code"] == code
        assert asyncio.get_running_loop().time() - began == pytest.approx(after)
        await client.until("settled")


async def test_a_tool_s_time_limit_may_be_caught() -> None:
    async def agent(turn: Turn) -> str:
        try:
            async with turn.tool("search", timeout=5):
                await asyncio.sleep(3600)
        except RunError as error:
            return f"no: {error.code}"
        return "found"

    async with serving(agent, Settings(timeouts=TIMES)) as app, connect(app) as client:
        await say(client, "hi")
        await got(client, "done")
        assert of(client, "tool_result")[0]["outcome"] == "timeout"
        assert client.text() == "no: tool_timeout"


async def test_a_tool_that_runs_is_no_silence_and_a_question_neither() -> None:
    async def agent(turn: Turn) -> str:
        async with turn.tool("search", timeout=100) as call:
            await asyncio.sleep(90)
            call.output = "3"
        return str(await turn.ask("question", "Sure?"))

    async with serving(agent, Settings(timeouts=TIMES)) as app, connect(app) as client:
        await say(client, "hi")
        request = await got(client, "request")
        await asyncio.sleep(250)
        await client.send({"type": "reply", "request": request["request"], "data": "yes"})
        await got(client, "done")
        assert client.text() == "yes"


async def test_after_the_reply_silence_counts_again() -> None:
    async def agent(turn: Turn) -> None:
        await turn.ask("question", "Sure?")
        await asyncio.sleep(3600)

    async with serving(agent, Settings(timeouts=TIMES)) as app, connect(app) as client:
        await say(client, "hi")
        request = await got(client, "request")
        await asyncio.sleep(250)
        began = asyncio.get_running_loop().time()
        await client.send({"type": "reply", "request": request["request"], "data": "yes"})
        assert (await got(client, "error"))["code"] == "silence_timeout"
        assert asyncio.get_running_loop().time() - began == pytest.approx(30)


async def test_who_writes_in_time_is_never_cut_off() -> None:
    script = Scripted([Wait(59), *(step for i in range(15) for step in (f"{i} ", Wait(29)))])
    async with serving(script, Settings(timeouts=TIMES)) as app, connect(app) as client:
        await say(client, "hi")
        await got(client, "done")


# The shutdown


async def test_while_it_drains_new_connections_are_refused_and_readiness_says_so() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate])) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        assert (await Http(app, "/readyz").json())["status"] == "ready"
        draining = asyncio.create_task(app.state.gateway.drain())
        await asyncio.sleep(1)
        with pytest.raises(Refused) as refused:
            async with connect(app):
                pass
        assert refused.value.status == 503
        ready = Http(app, "/readyz")
        await ready.text()
        assert ready.status == 503
        posted = Http(app, "/api/agent/stream", {"message": "hi"})
        assert (await posted.json())["error"]["code"] == "shutting_down"
        assert posted.status == 503
        await client.send({"type": "interrupt"})
        await client.until("interrupted")
        assert await closing(client) == 4503
        await draining
        assert opened["session"]


async def test_a_drain_tells_idle_clients_at_once() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        await hello(client)
        began = asyncio.get_running_loop().time()
        draining = asyncio.create_task(app.state.gateway.drain())
        assert await closing(client) == 4503
        assert asyncio.get_running_loop().time() == began
        await draining


async def test_a_drain_that_was_cancelled_goes_on_when_it_is_asked_for_again() -> None:
    async with serving(Scripted(["a", Gate()])) as app, connect(app) as client:
        await say(client, "hi")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await app.state.gateway.drain()
        await asyncio.gather(app.state.gateway.drain(), app.state.gateway.drain(), closing(client))
        assert [frame["reason"] for frame in of(client, "interrupted")] == ["shutdown"]


async def test_a_client_that_shakes_hands_during_the_drain_is_told_too() -> None:
    told: list[bool] = []
    async with Gateway(Scripted(["a"]), Settings()) as gateway:
        await gateway.drain()
        gateway.join(told.append)
    assert told == [True]


async def test_leaving_the_application_ends_every_run_and_saves_its_ending() -> None:
    async with serving(Scripted(["a", Gate()])) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        session = await core(app, opened)
    assert types([{"type": type(event).__name__} for event in session.log.read(0)])[-2:] == ["Interrupted", "Settled"]
    check_log(session.log.read(0), over=True)
