"""HTTP streams as their clients see them, over a real socket."""

import asyncio
import json
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from live import MakeSite, Site
from websockets.asyncio.client import connect
from wire import NDJSON, STREAM, EventSource, Net, RawWebSocket, Response, SseParser, eventually

from agent_ws import (
    Content,
    Limits,
    SectionEnd,
    SectionStart,
    StoreError,
    Thinking,
    Timeouts,
    ToolResult,
    ToolStart,
    Turn,
)
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.events import User
from agent_ws.stores import feed
from agent_ws.stores.memory import MemoryStore

Frame = dict[str, Any]
SAY = {"message": "Hello agent"}
HELLO = f"{STREAM}?message=Hello"
ENDINGS = ("done", "interrupted", "error")
LATE = "sentinel-late"


async def said(net: Net, body: Frame, *, fields: dict[str, str] | None = None) -> tuple[Response, list[Frame]]:
    """POST for an NDJSON stream and read it to the end."""
    response = await net.post(STREAM, body, NDJSON | (fields or {}))
    return response, [frame async for frame in response.lines()]


async def begun(net: Net, body: Frame) -> tuple[Response, Frame, Frame]:
    """POST for an NDJSON stream and read its head: the response, `session`, `accepted`."""
    response = await net.post(STREAM, body, NDJSON)
    first, second, *_ = [json.loads(line) for line in (await response.chunk()).splitlines()]
    return response, first, second


async def refused(response: Response) -> tuple[int, str]:
    return response.status, (await response.json())["error"]["code"]


def text_of(frames: list[Frame]) -> str:
    return "".join(frame["data"] for frame in frames if frame["type"] == "content")


def proof(session: Frame) -> Frame:
    return {"session": session["session"], "token": session["token"]}


def bearer(session: Frame) -> dict[str, str]:
    return {"authorization": f"Bearer {session['token']}"}


async def hello(site: Site, **fields: Any) -> tuple[RawWebSocket, Frame]:
    """A WebSocket that has said `hello`, and the `session` frame."""
    socket = await site.websocket()
    socket.send(json.dumps({"type": "hello", **fields}))
    return socket, await socket.until("session")


# The parser that the rest relies on


def test_the_parser_follows_the_standard() -> None:
    stream = (
        "\ufeff: a comment\n\ndata: a\ndata:b\r\nid: 1\r\n\r\nevent: x\rdata\r\r"
        "data:  two spaces\nid: with\0nul\n\nid\ndata: é\n\nevent: nothing\n\ndata: cut"
    ).encode()
    whole = SseParser()
    expected = whole.feed(stream)
    assert [tuple(message) for message in expected] == [
        ("message", "a\nb", "1"),
        ("x", "", "1"),
        ("message", " two spaces", "1"),
        ("message", "é", ""),
    ]
    assert whole.comments == 1
    bytewise = SseParser()
    assert [m for i in range(len(stream)) for m in bytewise.feed(stream[i : i + 1])] == expected


# What a stream looks like

EVERYTHING = (
    Thinking("Let me see."),
    ToolStart("t1", "search", {"query": "data: x\n\nevent: y"}),
    ToolResult("t1", output="line one\r\nline two\n\n"),
    SectionStart("s1", "Idea"),
    Content("In words: ", "s1"),
    SectionEnd("s1"),
    'a "quoted"\nline,\r\n\u2028\u2029, ',
    "ünï😀\0.",
)
TEXT = 'In words: a "quoted"\nline,\r\n\u2028\u2029, ünï😀\0.'


async def test_sse_is_the_default_and_only_text_is_unnamed(make_site: MakeSite) -> None:
    site = await make_site(Scripted(EVERYTHING))
    response = await site.post(STREAM, SAY)
    assert (response.status, response.header("content-type")) == (200, "text/event-stream")
    assert response.header("cache-control") == "no-store"
    messages = SseParser().feed(await response.body())
    unnamed = [json.loads(m.data) for m in messages if m.type == "message"]
    assert "".join(data["content"] for data in unnamed) == TEXT
    named = [m.type for m in messages if m.type != "message"]
    assert named == [
        *("session", "accepted", "user", "start", "thinking", "tool_start", "tool_result"),
        *("section_start", "section_end", "done", "end"),
    ]
    assert messages[-1].data == "[DONE]"
    assert all(json.loads(m.data)["type"] == m.type for m in messages if m.type not in ("message", "end"))


async def test_the_stream_ends_with_done_for_readers_of_lines(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    body = await (await site.post(STREAM, SAY)).body()
    assert [line for line in body.decode().splitlines() if line][-1] == "data: [DONE]"


async def test_every_event_has_the_id_of_the_place_behind_it(make_site: MakeSite) -> None:
    site = await make_site(Scripted(EVERYTHING))
    response = await site.post(STREAM, SAY)
    messages = SseParser().feed(await response.body())
    session, accepted = (json.loads(m.data) for m in messages[:2])
    seqs = [0, 0, *(json.loads(m.data)["seq"] for m in messages[2:-1])]
    seqs.append(seqs[-1])
    prefix = f"{session['session']}.{session['epoch']}"
    assert [m.id for m in messages] == [f"{prefix}.{seq}.{accepted['run']}" for seq in seqs]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/event-stream"),
        ("*/*", "text/event-stream"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("APPLICATION/X-NDJSON; charset=utf-8", "application/x-ndjson"),
        ("text/html, application/x-ndjson", "application/x-ndjson"),
        ("text/event-stream, application/x-ndjson", "text/event-stream"),
        ("text/event-stream;q=0.5, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/x-ndjson;q=0", "text/event-stream"),
        ("application/x-ndjson;q=many", "text/event-stream"),
        ("application/json", "text/event-stream"),
    ],
)
async def test_accept_chooses_the_dialect(make_site: MakeSite, accept: str, media_type: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    response = await site.post(STREAM, SAY, {"accept": accept} if accept else {})
    assert response.header("content-type") == media_type
    await response.body()


async def test_ndjson_lines_are_the_frames_of_the_websocket(make_site: MakeSite) -> None:
    site = await make_site(Scripted(EVERYTHING))
    _, frames = await said(site, SAY)
    assert [frame["type"] for frame in frames[:3]] == ["session", "accepted", "user"]
    assert frames[-1] == {"type": "end"}
    assert frames[-2]["type"] == "done"
    assert text_of(frames) == TEXT
    socket, _ = await hello(site, **proof(frames[0]))
    events = [await socket.frame() for _ in frames[2:-1]]
    assert events == frames[2:-1]


async def test_text_arrives_while_the_agent_works(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["One, ", gate, "two."]))
    source = EventSource(site, HELLO)
    assert await source.open() == 200
    await source.until("message")
    assert source.text == "One, "
    gate.set()
    await source.until("end")
    assert source.text == "One, two."


async def test_a_failed_run_ends_the_stream_with_its_error(make_site: MakeSite) -> None:
    async def agent(_: Turn) -> None:
        raise ValueError(LATE)

    site = await make_site(agent)
    _, frames = await said(site, SAY)
    assert frames[-2]["type"] == "error"
    assert frames[-2]["code"] == "agent_error"
    assert LATE not in json.dumps(frames)


# The two clients that know nothing


async def test_the_naive_websocket_client_works(make_site: MakeSite) -> None:
    site = await make_site(Scripted(EVERYTHING))
    shown = ""
    async with connect(f"ws://127.0.0.1:{site.port}/ws") as websocket, asyncio.timeout(5):
        await websocket.send(json.dumps({"message": "Hello agent"}))
        async for message in websocket:
            frame = json.loads(message)
            if frame["type"] == "content":
                shown += frame["data"]
            elif frame["type"] == "done":
                break
    assert shown == TEXT


async def test_the_naive_eventsource_client_works_and_is_told_to_stay_away_at_the_end(make_site: MakeSite) -> None:
    agent = Scripted(EVERYTHING)
    site = await make_site(agent)
    source = EventSource(site, HELLO)
    await source.open()
    await source.end()
    assert source.text == TEXT
    assert await source.open() == 204
    assert source.text == TEXT
    assert len(agent.turns) == 1


# Coming back


async def cookie_of(site: Site) -> dict[str, str]:
    """A browser's cookie."""
    response = await site.post(STREAM, SAY)
    await response.body()
    return {"cookie": response.header("set-cookie").partition(";")[0]}


async def test_cut_behind_any_event_nothing_is_lost_doubled_or_run_twice(make_site: MakeSite) -> None:
    agent = Scripted(EVERYTHING)
    site = await make_site(agent)
    cookie = await cookie_of(site)
    for events in range(1, 14):
        turns = len(agent.turns)
        source = EventSource(site, HELLO, cookie)
        await source.open()
        for _ in range(events):
            await source.next()
        source.cut()
        if await source.open() == 200:
            await source.end()
            assert await source.open() == 204
        assert source.text == TEXT, events
        assert len(agent.turns) == turns + 1
        assert [m.type for m in source.messages].count("user") == 1
        assert [m.type for m in source.messages].count("done") == 1


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_cut_at_any_byte_nothing_is_lost_doubled_or_run_twice(make_site: MakeSite, encoding: str) -> None:
    agent = Scripted(EVERYTHING)
    site = await make_site(agent, limits=Limits(frame_burst=2_000, session_burst=2_000, address_connections=2_000))
    cookie = await cookie_of(site)
    cut = 1
    while True:
        turns = len(agent.turns)
        source = EventSource(site, HELLO, [*cookie.items(), ("accept-encoding", encoding)])
        await source.open()
        assert source.gzip == (encoding == "gzip")
        if not await source.bytes(cut):
            break
        if source.last_id:  # before the first event nobody can know of the run
            while await source.open() == 200:
                await source.end()
            assert source.text == TEXT, cut
            assert len(agent.turns) == turns + 1
        cut += 29
    assert len(agent.turns) > 20


async def test_cut_in_mid_answer_the_run_goes_on_and_is_read_on(make_site: MakeSite) -> None:
    gate = Gate()
    agent = Scripted(["One, ", gate, "two."])
    site = await make_site(agent)
    source = EventSource(site, HELLO, await cookie_of_open(site))
    await source.open()
    await source.until("message")
    source.cut()
    gate.set()
    assert await source.open() == 200
    session = json.loads((await source.until("session")).data)
    assert session["resumed"] is True
    await source.until("end")
    assert source.text == "One, two."
    assert await source.open() == 204
    assert len(agent.turns) == 1


async def cookie_of_open(site: Site) -> dict[str, str]:
    """A browser's cookie, without a run."""
    _, response = await site.shake_hands()
    return {"cookie": response.header("set-cookie").partition(";")[0]}


async def test_coming_back_with_an_id_that_cannot_be_honoured_is_a_reset_and_ends_all_the_same(
    make_site: MakeSite,
) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    source = EventSource(site, HELLO, await cookie_of_open(site))
    await source.open()
    await source.end()
    session, epoch, seq, run = source.last_id.split(".")
    for place, reason in ((f"{session}.{epoch}.{int(seq) + 5}.{run}", "ahead"), (f"{session}.other.1.{run}", "epoch")):
        source.last_id, source.text, source.messages = place, "", []
        assert await source.open() == 200
        await source.end()
        assert [m.type for m in source.messages[:3]] == ["session", "reset", "user"]
        assert json.loads(source.messages[0].data)["resumed"] is False
        assert json.loads(source.messages[1].data)["reason"] == reason
        assert source.text == "Hi"
        assert await source.open() == 204
    source.last_id = f"{session}.other.1.unknown-run"
    assert await source.open() == 200
    await source.end()
    assert await source.open() == 204
    assert len(agent.turns) == 1


async def test_somebody_elses_place_is_answered_like_one_that_is_nowhere(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    source = EventSource(site, HELLO)
    await source.open()
    await source.end()
    assert await source.open() == 204
    theirs = source.last_id
    answers: list[tuple[int, bytes]] = []
    for place in (theirs, "nowhere." + theirs.partition(".")[2]):
        response = await site.get(HELLO, {"last-event-id": place, "cookie": "agent_ws_owner=" + "x" * 22})
        answers.append((response.status, await response.body()))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


@pytest.mark.parametrize(
    "place",
    [
        *("", "x", "a.b.c.d", "a.b.1", "a.b.-1.c", "a.b.1.c.d", ".b.1.c", "a..1.c", "a.b..c", "a.b.1e3.c", "a.b.1.c d"),
        *("a.b.²³.c", "a.b." + "9" * 16 + ".c", "a" * 65 + ".b.1.c", "a.b.1." + "c" * 65, "a.b.0x1.c", "a.b. 1.c"),
    ],
)
async def test_a_malformed_place_is_a_bad_request(make_site: MakeSite, place: str) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    response = await site.get(HELLO, {"last-event-id": place})
    assert await refused(response) == (400, "bad_frame")
    assert agent.turns == []


async def test_a_stream_is_read_on_by_websocket_and_the_other_way_round(make_site: MakeSite) -> None:
    first, second = Gate(), Gate()
    agent = Scripted(["One, ", first, "two, ", second, "three."])
    site = await make_site(agent)
    response, session, _ = await begun(site, SAY)
    reading = response.lines()
    frames = [await anext(reading) for _ in range(3)]
    assert text_of(frames) == "One, "
    response.cut()
    first.set()
    socket, back = await hello(site, **proof(session), epoch=session["epoch"], after=frames[-1]["seq"])
    assert back["resumed"] is True
    frames.append(await socket.frame())
    socket.cut()
    second.set()
    cursor = {"epoch": back["epoch"], "after": frames[-1]["seq"]}
    _, rest = await said(site, proof(session) | cursor)
    assert rest[0]["resumed"] is True
    frames += [frame for frame in rest if "seq" in frame]
    assert text_of(frames) == "One, two, three."
    seqs = [frame["seq"] for frame in frames]
    assert seqs == sorted(set(seqs))
    assert len(agent.turns) == 1


async def test_a_part_of_an_event_is_no_loss_on_the_way_from_websocket_to_http(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["One tw", gate, "o."]))
    socket, session = await hello(site, chunk="word")
    socket.send(json.dumps(SAY))
    frame = await socket.until("content")
    assert (frame["data"], frame["part"]) == ("One ", 4)
    socket.cut()
    gate.set()
    cursor = {"epoch": session["epoch"], "after": frame["seq"], "part": frame["part"]}
    _, rest = await said(site, proof(session) | cursor)
    assert text_of(rest) == "two."


async def test_without_a_message_the_stream_has_what_is_new_and_then_is_204(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    _, frames = await said(site, SAY)
    session = await site.session(frames[0])
    await eventually(lambda: not session.busy)
    seen = [frame for frame in frames if "seq" in frame]
    cursor = proof(frames[0]) | {"epoch": frames[0]["epoch"], "after": seen[-1]["seq"]}
    _, rest = await said(site, cursor)
    assert [frame["type"] for frame in rest] == ["session", "settled", "end"]
    response = await site.post(STREAM, cursor | {"after": rest[1]["seq"]})
    assert (response.status, await response.body()) == (204, b"")
    assert (await site.get(STREAM)).status == 204


# Compression


async def test_gzip_each_event_can_be_read_as_soon_as_it_is_sent(make_site: MakeSite) -> None:
    gates = [Gate() for _ in range(5)]
    script = [step for i, gate in enumerate(gates) for step in (f"word{i} ", gate)]
    site = await make_site(Scripted(script))
    response = await site.post(STREAM, SAY, {"accept-encoding": "deflate, gzip;q=0.5"})
    assert response.header("content-encoding") == "gzip"
    assert "accept-encoding" in response.header("vary")
    unpacker, parser, shown = zlib.decompressobj(wbits=31), SseParser(), ""
    for i, gate in enumerate(gates):
        while f"word{i} " not in shown:  # each gate holds the agent until its word was read
            for message in parser.feed(unpacker.decompress(await response.chunk())):
                shown += json.loads(message.data)["content"] if message.type == "message" else ""
        gate.set()
    rest = parser.feed(unpacker.decompress(await response.body()))
    assert rest[-1].type == "end"
    assert unpacker.eof


@pytest.mark.parametrize("encoding", ["", "identity", "gzip;q=0", "br", "*;q=0", "xgzip"])
async def test_no_gzip_for_who_does_not_ask_for_it(make_site: MakeSite, encoding: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    response = await site.post(STREAM, SAY, {"accept-encoding": encoding} if encoding else {})
    assert response.header("content-encoding") == ""
    assert b"[DONE]" in await response.body()


# Stop


async def test_an_interrupt_by_post_stops_the_run_on_every_wire(make_site: MakeSite) -> None:
    gate, late = Gate(), asyncio.Event()

    async def agent(turn: Turn) -> None:
        turn.content("early")
        try:
            gate.reached.set()
            await gate.wait()
        finally:
            late.set()
            turn.content(LATE)

    site = await make_site(agent)
    response, session, accepted = await begun(site, SAY)
    socket, _ = await hello(site, **proof(session))
    await socket.until("content")
    answer = await site.post("/api/agent/interrupt", proof(session) | {"run": accepted["run"], "seen": 2})
    assert (answer.status, await answer.json()) == (200, {"interrupted": [accepted["run"]]})
    frames = [frame async for frame in response.lines()]
    assert [frame["type"] for frame in frames[-2:]] == ["interrupted", "end"]
    assert (frames[-2]["seen"], frames[-2]["reason"]) == (2, "user")
    assert (await socket.frame())["type"] == "interrupted"
    assert (await socket.frame())["type"] == "settled"
    assert late.is_set()
    socket.send('{"type": "ping"}')
    assert (await socket.frame())["type"] == "pong"  # with nothing in between
    again = await site.post("/api/agent/interrupt", proof(session))
    assert await again.json() == {"interrupted": []}


async def test_an_interrupt_of_an_unknown_run_is_404(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    _, frames = await said(site, SAY)
    response = await site.post("/api/agent/interrupt", proof(frames[0]) | {"run": "r-unknown"})
    assert await refused(response) == (404, "run_not_found")


async def test_one_section_is_stopped_by_post(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        async with turn.section("s1") as section:
            section.content("One")
            await asyncio.Event().wait()
        turn.content(" two.")

    site = await make_site(agent)
    response, session, _ = await begun(site, SAY)
    reading = response.lines()
    while (await anext(reading))["type"] != "content":
        pass
    body = proof(session) | {"section": "s1"}
    assert await (await site.post("/api/agent/interrupt", body)).json() == {"stopped": True}
    rest = [frame async for frame in reading]
    assert rest[0]["outcome"] == "skipped"
    assert text_of(rest) == " two."
    assert await (await site.post("/api/agent/interrupt", body)).json() == {"stopped": False}
    named = proof(session) | {"agent": "researcher"}
    assert await (await site.post("/api/agent/interrupt", named)).json() == {"stopped": False}


async def test_a_reply_by_post(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> str:
        return str(await turn.ask("approval", "Really?"))

    site = await make_site(agent)
    response, session, _ = await begun(site, SAY)
    reading = response.lines()
    while (frame := await anext(reading))["type"] != "request":
        pass
    reply = proof(session) | {"request": frame["request"], "data": {"approved": [True, None, 1.5]}}
    answer = await site.post("/api/agent/reply", reply)
    assert (answer.status, await answer.json()) == (200, {"resolved": frame["request"]})
    assert await refused(await site.post("/api/agent/reply", reply)) == (409, "request_not_open")
    rest = [frame async for frame in reading]
    assert rest[0]["type"] == "resolved"
    assert text_of(rest) == "{'approved': [True, None, 1.5]}"


# A message while a run is going


async def test_reject(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted([gate]))
    _, session, _ = await begun(site, SAY)
    response = await site.post(STREAM, proof(session) | SAY | {"when_busy": "reject"})
    assert await refused(response) == (409, "busy")


async def test_queue_until_it_is_full(make_site: MakeSite) -> None:
    gate = Gate()
    agent = Scripted([gate, "first"], ["second"])
    site = await make_site(agent, limits=Limits(queued=1))
    going, session, _ = await begun(site, SAY)
    queued, _, accepted = await begun(site, proof(session) | SAY | {"when_busy": "queue"})
    assert accepted["outcome"] == "queued"
    response = await site.post(STREAM, proof(session) | SAY | {"when_busy": "queue"})
    assert await refused(response) == (429, "queue_full")
    gate.set()
    assert text_of([frame async for frame in going.lines()]) == "first"
    frames = [frame async for frame in queued.lines()]
    assert text_of(frames) == "second"  # and nothing of the run before it
    assert {frame["run"] for frame in frames if "seq" in frame} == {accepted["run"]}


async def test_interrupt(make_site: MakeSite) -> None:
    agent = Scripted([Gate()], ["second"])
    site = await make_site(agent)
    going, session, _ = await begun(site, SAY)
    _, frames = await said(site, proof(session) | SAY | {"when_busy": "interrupt"})
    assert frames[1]["outcome"] == "started"
    assert text_of(frames) == "second"
    assert [frame async for frame in going.lines()][-2]["reason"] == "superseded"


async def test_steer_that_is_taken_ends_with_the_run(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> str:
        return " and ".join(await turn.wait_steered())

    site = await make_site(agent)
    going, session, first = await begun(site, SAY)
    _, frames = await said(site, proof(session) | {"message": "shorter", "when_busy": "steer"})
    assert frames[1]["outcome"] == "steered"
    assert frames[1]["run"] == first["run"]
    assert text_of(frames) == "shorter"
    assert [frame["type"] for frame in frames][-2:] == ["done", "end"]
    assert text_of([frame async for frame in going.lines()]) == "shorter"


async def test_steer_that_is_not_taken_is_followed_into_the_run_that_answers_it(make_site: MakeSite) -> None:
    gate = Gate()
    agent = Scripted(["first", gate], ["second"])
    site = await make_site(agent)
    going, session, first = await begun(site, SAY)
    steered, _, accepted = await begun(site, proof(session) | {"message": "x", "when_busy": "steer", "id": "c2"})
    assert (accepted["outcome"], accepted["run"]) == ("steered", first["run"])
    gate.set()
    frames = [frame async for frame in steered.lines()]
    assert text_of(frames) == "second"
    assert [frame["type"] for frame in frames].count("done") == 2
    assert frames[-1] == {"type": "end"}
    assert text_of([frame async for frame in going.lines()]) == "first"


# The same message again


async def test_an_id_sent_again_is_run_once_and_answered_from_its_beginning(make_site: MakeSite) -> None:
    gate = Gate()
    agent = Scripted(["One, ", gate, "two."], ["other"])
    site = await make_site(agent)
    response, session, accepted = await begun(site, SAY | {"id": "c1"})
    again, _, twice = await begun(site, proof(session) | SAY | {"id": "c1"})
    assert twice == accepted
    gate.set()
    for stream in (response, again):
        assert text_of([frame async for frame in stream.lines()]) == "One, two."
    await said(site, proof(session) | SAY)
    _, frames = await said(site, proof(session) | SAY | {"id": "c1"})
    assert frames[1] == accepted
    assert text_of(frames) == "One, two."
    assert len(agent.turns) == 2


async def test_an_id_sent_again_with_a_cursor_goes_on_behind_it(make_site: MakeSite) -> None:
    agent = Scripted(["One, two."])
    site = await make_site(agent)
    _, frames = await said(site, SAY | {"id": "c1"})
    content = next(frame for frame in frames if frame["type"] == "content")
    cursor = {"epoch": frames[0]["epoch"], "after": content["seq"]}
    _, rest = await said(site, proof(frames[0]) | SAY | {"id": "c1"} | cursor)
    assert [frame["type"] for frame in rest] == ["session", "accepted", "done", "end"]
    assert len(agent.turns) == 1


# Going away


async def test_a_disconnect_is_a_detach(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["One, ", gate, "two."]))
    response, frame, _ = await begun(site, SAY)
    await gate.reached.wait()
    session = await site.session(frame)
    response.cut()
    await eventually(lambda: not site.server.server_state.tasks)
    assert session.going is not None
    gate.set()
    await eventually(lambda: not session.busy)
    _, frames = await said(site, proof(frame))
    assert text_of(frames) == "One, two."


async def test_a_disconnect_begins_the_time_until_the_run_is_an_orphan(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi", Gate()]), timeouts=Timeouts(orphan=0.01))
    response, frame, _ = await begun(site, SAY)
    session = await site.session(frame)
    socket, _ = await hello(site, **proof(frame))
    await socket.until("content")
    response.cut()
    await eventually(lambda: len(site.server.server_state.tasks) == 1)
    assert session.going is not None  # somebody still looks
    socket.cut()
    await eventually(lambda: not session.busy)
    _, frames = await said(site, proof(frame))
    assert next(f for f in frames if f["type"] in ENDINGS)["reason"] == "orphaned"


async def test_who_reads_a_stream_looks_at_the_run(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted([gate, "Hi"]), timeouts=Timeouts(orphan=0.01, heartbeat=0.02))
    response, _, _ = await begun(site, SAY)
    beats = 0
    while beats < 3:  # the time in which it would have been an orphan
        beats += (await response.chunk()).count(b"pong")
    gate.set()
    assert b'"done"' in await response.body()


async def test_a_disconnect_in_mid_request_is_nothing(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    for path in (STREAM, "/api/agent/interrupt"):
        _, writer = await site.dial()
        writer.write(site.head("POST", path, (), 1000) + b'{"message":')
        await writer.drain()
        await eventually(lambda: bool(site.server.server_state.tasks))
        writer.transport.abort()
        await eventually(lambda: not site.server.server_state.tasks)
    assert agent.turns == []
    assert caplog.records == []


async def test_a_body_that_does_not_come_is_not_waited_for(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=Timeouts(hello=0.1))
    reader, writer = await site.dial()
    writer.write(site.head("POST", STREAM, (), 1000) + b'{"message":')
    response = Response(reader, writer)
    await response.head()
    assert await refused(response) == (408, "hello_timeout")


# While nothing happens


@pytest.mark.parametrize(
    ("accept", "beat"), [("text/event-stream", b": \n\n"), (NDJSON["accept"], b'{"type":"pong"}\n')]
)
async def test_a_silent_stream_says_that_it_lives(make_site: MakeSite, accept: str, beat: bytes) -> None:
    gate = Gate()
    site = await make_site(Scripted([gate, "Hi"]), timeouts=Timeouts(heartbeat=0.01))
    response = await site.post(STREAM, SAY, {"accept": accept})
    await gate.reached.wait()
    chunks = [await response.chunk() for _ in range(4)]
    assert chunks[-2:] == [beat, beat]
    gate.set()
    rest = await response.body()
    assert b"Hi" in rest


async def test_events_of_another_run_do_not_put_the_heartbeat_off(make_site: MakeSite) -> None:
    stop = asyncio.Event()

    async def agent(turn: Turn) -> None:
        while not stop.is_set():
            turn.status("working")
            for _ in range(10):  # so that the stream waits for each
                await asyncio.sleep(0)

    site = await make_site(agent, timeouts=Timeouts(heartbeat=0.2))  # far longer than a tick
    _, session, _ = await begun(site, SAY)
    queued, _, _ = await begun(site, proof(session) | SAY)
    chunk = await queued.chunk()
    while b"pong" not in chunk:
        assert b"working" not in chunk
        chunk = await queued.chunk()
    stop.set()
    await queued.body()


# Who


async def test_the_token_is_taken_as_bearer_too(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    _, frames = await said(site, SAY)
    mine = {"session": frames[0]["session"]}
    assert await refused(await site.post(STREAM, mine)) == (404, "session_not_found")
    wrong = {"authorization": "Bearer wrong"}
    assert await refused(await site.post(STREAM, mine, wrong)) == (404, "session_not_found")
    basic = {"authorization": f"Basic {frames[0]['token']}"}
    assert await refused(await site.post(STREAM, mine, basic)) == (404, "session_not_found")
    for scheme in ("Bearer", "bearer"):
        response = await site.post(STREAM, mine | SAY, {"authorization": f"{scheme} {frames[0]['token']}"})
        assert response.status == 200
        await response.body()
    response = await site.get(f"{STREAM}?session={mine['session']}", bearer(frames[0]))
    assert response.status == 200
    await response.body()


@pytest.mark.parametrize("path", [STREAM, "/api/agent/interrupt", "/api/agent/reply"])
async def test_a_token_in_an_address_is_refused(make_site: MakeSite, path: str) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    _, frames = await said(site, SAY)
    query = f"?session={frames[0]['session']}&token={frames[0]['token']}"
    if path == STREAM:
        assert await refused(await site.get(path + query + "&message=x")) == (400, "bad_frame")
        assert await refused(await site.get(path + "?token=&message=x")) == (400, "bad_frame")
    assert await refused(await site.post(path + query, proof(frames[0]) | SAY)) == (400, "bad_frame")
    assert len(agent.turns) == 1


async def test_the_owner_cookie_is_out_of_reach_for_pages_and_other_sites(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    response = await site.post(STREAM, SAY, NDJSON)
    frames = [frame async for frame in response.lines()]
    pair, *attributes = response.header("set-cookie").split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert "Secure" not in attributes  # over plain http a browser would not send it back
    name, _, value = pair.partition("=")
    assert name == "agent_ws_owner"
    assert len(value) >= 22
    mine = {"session": frames[0]["session"]}
    again = await site.post(STREAM, mine, {"cookie": f'a/b=1; j={{"x": "y"}}; {pair}; z'})
    assert again.status == 200
    assert again.header("set-cookie") == ""
    await again.body()
    for cookie in ("agent_ws_owner=" + "x" * 22, f"agent_ws_owner_={value}", f"agent_ws_owner={value}x"):
        assert await refused(await site.post(STREAM, mine, {"cookie": cookie})) == (404, "session_not_found")


async def test_a_weak_cookie_is_replaced(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    for cookie in ("agent_ws_owner=", "agent_ws_owner=short", "agent_ws_owner=" + "\xe9" * 22):
        response = await site.post(STREAM, SAY, {"cookie": cookie})
        assert response.header("set-cookie").startswith("agent_ws_owner=")
        await response.body()


# What is refused


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"1",
            b'"x"',
            b"null",
            b'{"message": 1}',
            b'{"message": null, "session": 1}',
            b"\xff",
            b"NaN",
        ),
        *(
            b'{"message": "x", "id": ""}',
            b'{"message": "x", "when_busy": "sometimes"}',
            b'{"message": "x", "after": -1}',
        ),
        *(b'{"message": "x", "after": 9007199254740992}', b'{"message": "x", "after": 1.5}'),
        b'{"message": "\\ud800"}',
    ],
)
async def test_a_body_that_is_none_is_a_bad_request(make_site: MakeSite, body: bytes) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    assert await refused(await site.post(STREAM, body)) == (400, "bad_frame")
    assert agent.turns == []


@pytest.mark.parametrize(
    "query", ["?message=x&after=x", "?message=x&when_busy=x", "?message=x&id=", "?message=x&id=" + "x" * 65]
)
async def test_parameters_that_are_none_are_a_bad_request(make_site: MakeSite, query: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    assert await refused(await site.get(STREAM + query)) == (400, "bad_frame")


async def test_text_that_looks_like_something_else_is_text(make_site: MakeSite) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    for text in ("null", "true", "1", "a&b=c+d%", "ünï😀"):
        response = await site.get(f"{STREAM}?message={quote(text)}")
        await response.body()
        assert agent.turns[-1].message == text


@pytest.mark.parametrize("text", ["", " ", "\n\t\u2003"])
async def test_an_empty_message_is_refused(make_site: MakeSite, text: str) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    assert await refused(await site.post(STREAM, {"message": text})) == (400, "empty_message")
    assert agent.turns == []


async def test_the_size_of_a_request_is_limited(make_site: MakeSite) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    fits = json.dumps({"message": "x" * 65_521}).encode()
    assert len(fits) == 65_536
    response = await site.post(STREAM, fits)
    assert response.status == 200
    await response.body()
    for path in (STREAM, "/api/agent/interrupt", "/api/agent/reply"):
        assert await refused(await site.post(path, fits + b" ")) == (413, "message_too_big")
    assert len(agent.turns) == 1


async def test_the_size_of_an_address_is_limited(make_site: MakeSite) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent, limits=Limits(message_bytes=1000))
    fits = await site.get(f"{STREAM}?message={'x' * 992}")
    assert fits.status == 200
    await fits.body()
    assert await refused(await site.get(f"{STREAM}?message={'x' * 993}")) == (413, "message_too_big")
    assert (await site.get(f"{STREAM}?message={'x' * 65_536}")).status == 400  # more than the parser takes
    assert len(agent.turns) == 1


async def test_only_get_and_post(make_site: MakeSite) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    head = await site.request("HEAD", HELLO, json.dumps(SAY).encode())
    assert head.status == 405
    for method, path in (
        ("PUT", HELLO),
        ("DELETE", HELLO),
        ("GET", "/api/agent/interrupt"),
        ("GET", "/api/agent/reply"),
    ):
        assert (await site.request(method, path)).status == 405
    assert agent.turns == []


async def test_while_the_server_drains_no_run_begins_and_those_that_go_on_are_read_to_their_end(
    make_site: MakeSite,
) -> None:
    gate = Gate()
    agent = Scripted(["One, ", gate, "two."])
    site = await make_site(agent)
    response, session, _ = await begun(site, SAY)
    await gate.reached.wait()
    draining = asyncio.create_task(site.gateway.drain())
    await eventually(lambda: site.gateway.draining)
    assert await refused(await site.post(STREAM, SAY)) == (503, "shutting_down")
    assert await refused(await site.post(STREAM, proof(session) | SAY)) == (503, "shutting_down")
    gate.set()
    assert text_of([frame async for frame in response.lines()]) == "One, two."
    await draining
    assert len(agent.turns) == 1


async def test_a_long_log_is_read_to_its_end(make_site: MakeSite) -> None:
    count = 10_000  # more than is taken from a log at once

    async def agent(turn: Turn) -> None:
        for i in range(count):
            turn.status("working", str(i))

    site = await make_site(agent)
    _, frames = await said(site, SAY | {"id": "c1"})
    assert [frame["detail"] for frame in frames if frame["type"] == "status"] == [str(i) for i in range(count)]
    cursor = {"epoch": frames[0]["epoch"], "after": frames[4]["seq"]}
    for body in (SAY | {"id": "c1"}, SAY | {"id": "c1"} | cursor, {}, cursor):
        _, again = await said(site, proof(frames[0]) | body)
        seqs = [frame["seq"] for frame in again if frame["type"] == "status"]
        assert seqs == list(range(4 if "after" in body else 3, count + 3))
        assert "done" in [frame["type"] for frame in again]


async def test_a_message_may_come_with_a_cursor(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["first"], ["second"]))
    _, frames = await said(site, SAY)
    known = {"epoch": frames[0]["epoch"], "after": 1}
    _, more = await said(site, proof(frames[0]) | SAY | known)
    assert (more[0]["resumed"], more[0]["after"]) == (True, 1)
    assert text_of(more) == "second"
    _, more = await said(site, proof(frames[0]) | SAY | {"epoch": "other", "after": 1})
    assert [frame["type"] for frame in more[:3]] == ["session", "reset", "accepted"]
    assert text_of(more) == "second"


async def test_a_store_that_cannot_be_read_is_said_and_a_store_that_hangs_too(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=Timeouts(hello=0.1))

    async def fail(*_: Any) -> None:
        raise StoreError("the disk is gone")

    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    for load in (fail, hang):
        monkeypatch.setattr(MemoryStore, "load", load)
        response = await site.post(STREAM, {"session": "x"})
        assert await refused(response) == (503, "store_failed")
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        caplog.clear()


async def test_a_store_that_takes_nothing_is_said(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await make_site(Scripted([Gate()]))

    async def fail(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(MemoryStore, "save", fail)
    monkeypatch.setattr(feed, "RETRY_S", 0.001)
    for _ in range(2):  # found out at the first, known at the second
        assert await refused(await site.post(STREAM, SAY)) == (503, "store_failed")
    assert (await site.get("/readyz")).status == 503
    monkeypatch.undo()


async def test_two_streams_of_one_run_at_once_are_the_same(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["One, ", gate, *(f"{i} " for i in range(100))]))
    response, session, _ = await begun(site, SAY)
    other = await site.post(STREAM, proof(session), NDJSON)
    gate.set()
    texts = [text_of([frame async for frame in stream.lines()]) for stream in (response, other)]
    assert texts[0] == texts[1] == "One, " + "".join(f"{i} " for i in range(100))


async def test_a_session_can_be_had_before_anything_is_said(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    _, [session, end] = await said(site, {})
    assert (session["type"], session["after"], end["type"]) == ("session", 0, "end")
    first = proof(session) | {"message": "Hello", "id": "c1"}
    _, frames = await said(site, first)
    _, again = await said(site, first)
    assert frames[1] == again[1]
    assert text_of(again) == "Hi"
    found = await site.session(session)
    assert len([event for event in found.log.read(0) if isinstance(event, User)]) == 1
