"""What each connection may ask for: whole words, and text held until there is more of it. Whatever it asks for, it
gets the log, whole and once, and nobody else notices.
"""

import asyncio
import json
from typing import Any

import pytest
from helpers import Frame, Http, cursor, hello, serving, shown, sse

from agent_ws import Content, SectionEnd, SectionStart, Status, Thinking
from agent_ws.agents.scripted import Gate, Scripted, Wait
from agent_ws.settings import Timeouts
from agent_ws.testing.client import Client, Closed, Refused, connect

pytestmark = pytest.mark.virtual

STREAM = "/api/agent/stream"
NDJSON = {"accept": "application/x-ndjson"}
WORDS = "Hello there. How are you today? Well. "
LETTERS = [Wait(1.0), *(step for letter in WORDS for step in (letter, Wait(0.1)))]
"""From one second on, a letter each tenth of a second."""

Got = list[tuple[float, str]]
PACES: list[tuple[dict[str, Any], Got]] = [
    ({"buffer_chars": 16}, [(1.5, WORDS[:16]), (3.1, WORDS[16:32]), (3.8, WORDS[32:])]),
    ({"buffer_ms": 1450}, [(1.45, WORDS[:15]), (2.95, WORDS[15:30]), (3.8, WORDS[30:])]),
    (
        {"buffer_chars": 5, "buffer_ms": 9999, "chunk": "sentence"},
        [(1.2, WORDS[:13]), (3.1, WORDS[13:32]), (3.7, "Well. ")],
    ),
    (
        {"chunk": "sentence", "buffer_ms": 1250},
        [(1.2, WORDS[:13]), (2.55, WORDS[13:26]), (3.1, "oday? "), (3.7, "Well. ")],
    ),
]
"""What was asked for, and the text with the second at which it came, counted from the first letter: the letters come at
0.0, 0.1 ... 3.7, and at 3.8 the ending."""


async def received(client: Client, *, seconds: float = 20.0) -> Got:
    """Each piece of text and when it came, up to the ending."""
    clock, got = asyncio.get_running_loop().time, Got()
    began = clock()
    async with asyncio.timeout(seconds):
        while (frame := await client.receive())["type"] != "settled":
            if frame["type"] == "content":
                got.append((round(clock() - began - 1, 3), frame["data"]))
    return got


@pytest.mark.parametrize(("pace", "through"), PACES)
@pytest.mark.parametrize("push", [True, False])
async def test_a_hello_says_how_the_text_is_to_come(pace: dict[str, Any], through: Got, *, push: bool) -> None:
    async with serving(Scripted(LETTERS)) as app, connect(app, push=push) as client, connect(app) as other:
        opened = await hello(client, **pace)
        await hello(other, opened)
        await client.send({"message": "hi"})
        everything, live = await asyncio.gather(received(client), received(other))
        assert everything == through
        assert live == [(round(0.1 * i, 3), letter) for i, letter in enumerate(WORDS)], "nobody else notices"


@pytest.mark.parametrize(("pace", "through"), PACES)
async def test_the_address_of_the_socket_says_it_for_clients_without_a_hello(
    pace: dict[str, Any], through: Got
) -> None:
    query = "&".join(f"{name}={value}" for name, value in pace.items())
    async with serving(Scripted(LETTERS)) as app, connect(app, path=f"/ws?{query}&other=1") as client:
        await client.send({"message": "hi"})
        assert await received(client) == through


async def test_a_hello_goes_before_the_address() -> None:
    async with serving(Scripted(LETTERS)) as app, connect(app, path="/ws?buffer_chars=16&chunk=sentence") as client:
        await hello(client, buffer_chars=0, chunk="token")
        await client.send({"message": "hi"})
        assert len(await received(client)) == len(WORDS)


@pytest.mark.parametrize("way", ["query", "body"])
@pytest.mark.parametrize(("pace", "through"), PACES)
async def test_a_stream_over_http_says_it_too(pace: dict[str, Any], through: Got, way: str) -> None:
    clock, got = asyncio.get_running_loop().time, Got()
    query = "&".join(f"{name}={value}" for name, value in pace.items())
    async with serving(Scripted(LETTERS)) as app:
        began = clock()
        ask = {"message": "hi"} | pace
        stream = (
            Http(app, STREAM, ask, NDJSON)
            if way == "body"
            else Http(app, f"{STREAM}?message=hi&{query}", headers=NDJSON)
        )
        frame: Frame = {}
        while frame.get("type") != "end":
            for line in (await stream.until("\n")).splitlines():
                frame = json.loads(line)
                if frame["type"] == "content":
                    got.append((round(clock() - began - 1, 3), frame["data"]))
    assert got == through


WRONG = [
    {"buffer_chars": -1},
    {"buffer_chars": 16_385},
    {"buffer_ms": 10_001},
    {"buffer_ms": "soon"},
    {"chunk": "page"},
    {"buffer_chars": 1.5},
]


@pytest.mark.parametrize("pace", WRONG)
async def test_what_can_not_be_served_is_refused(pace: dict[str, Any]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pace.items())
    async with serving(Scripted(["hi"])) as app:
        with pytest.raises(Refused, match="400"):
            async with connect(app, path=f"/ws?{query}"):
                pass
        async with connect(app) as client:
            await client.send({"type": "hello", **pace})
            assert (await client.receive())["code"] == "bad_frame"
            with pytest.raises(Closed, match="4400"):
                await client.receive()
        for answer in (Http(app, STREAM, {"message": "hi"} | pace), Http(app, f"{STREAM}?message=hi&{query}")):
            assert (await answer.json())["error"]["code"] == "bad_frame"
            assert answer.status == 400


async def test_everything_but_text_leaves_at_once_and_in_order() -> None:
    gate = Gate()
    script = [
        "a",
        Thinking("b"),
        "c",
        Status("working", "d"),
        SectionStart("s", "S"),
        Content("e", "s"),
        SectionEnd("s"),
        "f",
        gate,
    ]
    async with serving(Scripted(script)) as app, connect(app) as client:
        await hello(client, buffer_chars=1000)
        await client.send({"message": "hi"})
        await gate.reached.wait()
        await asyncio.sleep(1)
        await client.send({"type": "ping"})
        await client.until("pong")
        kinds = [
            (frame["type"], frame.get("data")) for frame in client.events if frame["type"] not in ("user", "start")
        ]
        assert kinds == [
            ("content", "a"),
            ("thinking", "b"),
            ("content", "c"),
            ("status", None),
            ("section_start", None),
            ("content", "e"),
            ("section_end", None),
        ]
        await client.send({"type": "interrupt"})
        await client.until("interrupted")
        assert client.text() == "acef", "what was held came before the ending"


async def test_who_goes_with_text_held_gets_it_when_they_come_back() -> None:
    gate = Gate()
    async with serving(Scripted(["one tw", "o thr", gate, "ee"])) as app:
        async with connect(app) as client:
            opened = await hello(client, chunk="word", buffer_chars=4)
            await client.send({"message": "hi"})
            await gate.reached.wait()
            while client.text() != "one two ":
                await client.until("content")
            place = cursor(client, opened)
        async with connect(app) as back:
            await hello(back, opened, **place, buffer_ms=500)
            gate.set()
            await back.until("done")
            assert back.text() == "three"


async def test_a_browser_that_comes_back_by_itself_goes_on_inside_a_text() -> None:
    gate = Gate()
    async with serving(Scripted(["one two thr", gate, "ee four fi", Wait(1), "ve"])) as app:
        stream = Http(app, f"{STREAM}?message=hi&chunk=word&buffer_chars=4")
        early = await stream.until("one two")
        [(_, place, text)] = [event for event in sse(early) if not event[0]]
        assert (text["content"], text["part"]) == ("one two ", 8)
        assert f"+{text['part']}." in place
        await stream.leave()
        gate.set()
        cookie = {"cookie": stream.headers["set-cookie"].partition(";")[0], "last-event-id": place}
        back = Http(app, f"{STREAM}?message=hi&chunk=word&buffer_chars=4", headers=cookie)
        late = await back.text()
        assert [e[2]["content"] for e in sse(late) if not e[0]] == ["three four ", "five"]
        assert shown(early) + shown(late) == "one two three four five"


async def test_a_stream_that_holds_text_rests_until_its_time() -> None:
    """A stream that asked again and again whether the time had come would take the whole server."""
    gate = Gate()
    async with serving(Scripted(["one", gate])) as app:
        stream = Http(app, STREAM, {"message": "hi", "buffer_chars": 100, "chunk": "word"}, NDJSON)
        await stream.until("start")
        await gate.reached.wait()
        loop = asyncio.get_running_loop()
        began, turns = loop.time(), 0
        while loop.time() < began + 10:
            turns += 1
            await asyncio.sleep(1)
        assert turns == 10
        assert "one" not in stream.received.decode()
        await stream.until("pong")
        assert loop.time() == pytest.approx(began + Timeouts().heartbeat, abs=0.01)
        gate.set()
        assert '"data":"one"' in await stream.text()
