"""Whatever is sent gets its answer from PROTOCOL.md, is logged once, is quoted nowhere, and disturbs nobody else."""

import asyncio
import contextlib
import gc
import json
import logging
import struct
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from live import MakeSite, Site
from websockets.version import version as websockets_version
from wire import STREAM, Net, RawWebSocket, Response, eventually

from agent_ws import Limits, Timeouts, Turn
from agent_ws.agents.scripted import Gate, Scripted

CANARY = "kestrel-7f3a"
MESSAGE = '{"message": "Hello agent"}'
DEEP = 1_000_000
MSGPACK = {"sec-websocket-protocol": "agent-ws.v1.msgpack"}

JSON_FRAMES = {
    "empty": "",
    "not JSON": CANARY,
    "cut": f'{{"type": "{CANARY}"',
    "something behind": f'{{"type": "ping"}} {CANARY}',
    "a list": f'["{CANARY}"]',
    "a text": f'"{CANARY}"',
    "a number": "1",
    "null": "null",
    "no type": f'{{"x": "{CANARY}"}}',
    "an unknown type": f'{{"type": "{CANARY}"}}',
    "an unknown type that looks like a place": f'{{"type": "{CANARY} - at `$.{CANARY}`"}}',
    "a type that is no text": '{"type": 1}',
    "a type that is null": '{"type": null}',
    "a type that is a list": f'{{"type": ["{CANARY}"]}}',
    "a type with a NUL": '{"type": "ping\\u0000"}',
    "upper case": '{"type": "PING"}',
    "an event's type": f'{{"type": "content", "data": "{CANARY}"}}',
    "data missing": '{"type": "message"}',
    "data that is no text": f'{{"type": "message", "data": ["{CANARY}"]}}',
    "data that is null": '{"type": "message", "data": null}',
    "the short form with a number": '{"message": 1}',
    "the short form with null": '{"message": null}',
    "an empty id": f'{{"type": "message", "data": "{CANARY}", "id": ""}}',
    "a huge id": f'{{"type": "message", "data": "x", "id": "{CANARY * 10}"}}',
    "a huge id in the short form": f'{{"message": "x", "id": "{CANARY * 10}"}}',
    "an id that is a number": f'{{"message": "{CANARY}", "id": 1}}',
    "an unknown option": f'{{"type": "message", "data": "x", "when_busy": "{CANARY}"}}',
    "an unknown option in the short form": f'{{"message": "x", "when_busy": "{CANARY}"}}',
    "a run that is no text": f'{{"type": "interrupt", "run": {{"{CANARY}": 1}}}}',
    "a huge reason": f'{{"type": "interrupt", "reason": "{CANARY * 10}"}}',
    "a negative number": '{"type": "interrupt", "seen": -1}',
    "a fraction": '{"type": "interrupt", "seen": 1.5}',
    "2^53": '{"type": "interrupt", "seen": 9007199254740992}',
    "2^64": '{"type": "interrupt", "seen": 18446744073709551616}',
    "a number of a thousand digits": f'{{"type": "interrupt", "seen": {"9" * 1000}}}',
    "NaN": '{"type": "interrupt", "seen": NaN}',
    "infinity": '{"type": "interrupt", "seen": 1e999}',
    "a lone surrogate": f'{{"message": "{CANARY}\\ud800"}}',
    "a lone low surrogate": f'{{"message": "{CANARY}\\udc00 "}}',
    "a raw NUL": f'{{"message": "{CANARY}\0"}}',
    "a byte order mark": f"\ufeff{MESSAGE}",
    "a ping of 129": json.dumps({"type": "ping", "data": CANARY + "x" * 129}),
    "deep": "[" * 60_000,
    "deep data": f'{{"type": "reply", "request": "q", "data": {"[" * 5000}{"]" * 5000}}}',
    "data too deep to be said again": f'{{"type": "reply", "request": "q", "data": {"[" * 900}{"]" * 900}}}',
    "data that one wire only could say": '{"type": "reply", "request": "q", "data": 18446744073709551616}',
    "data of which a part is that": f'{{"type": "reply", "request": "q", "data": {{"{CANARY}": [1, {-(2**53)}]}}}}',
}


def packed(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(fields)


def reply(data: Any) -> bytes:
    return packed(type="reply", request="q", data=data)


MSGPACK_FRAMES = {
    "empty": b"",
    "not MessagePack": b"\xc1" + CANARY.encode(),
    "cut": packed(type="message", data=CANARY)[:-1],
    "something behind": packed(type="ping") + CANARY.encode(),
    "JSON": MESSAGE.encode(),
    "a list": msgspec.msgpack.encode([CANARY]),
    "no type": packed(x=CANARY),
    "an unknown type": packed(type=CANARY),
    "a type as bytes": packed(type=b"ping"),
    "text as bytes": packed(type="message", data=CANARY.encode()),
    "not UTF-8": packed(message=CANARY + "#").replace(b"#", b"\xff"),
    "a lone surrogate": packed(message=CANARY + "###").replace(b"###", b"\xed\xa0\x80"),
    "a key that is a number": msgspec.msgpack.encode({1: CANARY}),
    "a negative number": packed(type="interrupt", seen=-1),
    "2^64 - 1": packed(type="interrupt", seen=2**64 - 1),
    "NaN": packed(type="interrupt", seen=float("nan")),
    "deep": b"\x91" * 60_000,
    "a map that claims to be huge": b"\xdf\xff\xff\xff\xff",
    "a text that claims to be huge": b"\x81\xa7message\xdb\xff\xff\xff\xff",
    "data with numbers as keys": reply({1: CANARY}),
    "data with lists as keys": reply({(1, 2): CANARY}),
    "data with bytes": reply([CANARY.encode()]),
    "data of a type that JSON has not": reply({"x": msgspec.msgpack.Ext(7, CANARY.encode())}),
    "data with NaN": reply([float("nan")]),
    "data with infinity": reply(float("-inf")),
    "data with 2^64 - 1": reply(2**64 - 1),
}


class Watch:
    """What our server logs, and all that anybody logs."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.DEBUG, "agent_ws")

    def once(self) -> str:
        """The only record since the last look; nothing of what was sent is in any."""
        (record,) = self.records()
        return record.getMessage()

    def records(self) -> list[logging.LogRecord]:
        assert CANARY not in self._caplog.text
        ours = [record for record in self._caplog.records if record.name == "agent_ws"]
        assert all(record.exc_info is None for record in ours)
        self._caplog.clear()
        return ours


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Watch:
    return Watch(caplog)


async def serves(net: Net) -> None:
    """Somebody else is served."""
    socket = await net.websocket()
    socket.send(MESSAGE)
    assert (await socket.until("content"))["data"] == "Hi"
    await socket.until("done")
    socket.cut()


async def opened(net: Net, fields: dict[str, str] | None = None) -> RawWebSocket:
    """A connection in the state `open`."""
    socket = await net.websocket(fields or {})
    if fields == MSGPACK:
        socket.send(packed(type="hello"))
    else:
        socket.send('{"type": "hello"}')
    await answer(socket)
    return socket


async def answer(socket: RawWebSocket) -> dict[str, Any]:
    """The next frame, of either form; nothing in it was sent by us."""
    opcode, payload = await socket.receive()
    assert opcode in (1, 2)
    assert CANARY.encode() not in payload
    assert b"Traceback" not in payload
    return json.loads(payload) if opcode == 1 else msgspec.msgpack.decode(payload)


async def closed(socket: RawWebSocket) -> tuple[list[str], int]:
    """The codes of the errors up to the close, and its code. Nothing comes after it."""
    codes: list[str] = []
    while True:
        opcode, payload = await socket.receive()
        assert CANARY.encode() not in payload
        if opcode == 8:
            code = struct.unpack("!H", payload[:2])[0]
            socket.send(payload, opcode=8)
            async with asyncio.timeout(5):
                assert await socket.reader.read() == b""
            return codes, code
        codes.append(json.loads(payload).get("code"))


# Frames that can't be understood


@pytest.mark.parametrize("name", JSON_FRAMES)
async def test_a_bad_frame_is_answered_and_the_connection_stays(make_site: MakeSite, watch: Watch, name: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    socket.send(JSON_FRAMES[name])
    error = await answer(socket)
    assert (error["type"], error["code"]) == ("error", "bad_frame")
    assert error["message"].startswith("expected ")
    assert "bad frame" in watch.once()
    socket.send('{"type": "ping", "data": "17"}')
    assert await answer(socket) == {"type": "pong", "data": "17"}
    socket.send(MESSAGE)
    assert (await socket.until("content"))["data"] == "Hi"
    await serves(site)


@pytest.mark.parametrize("name", MSGPACK_FRAMES)
async def test_a_bad_messagepack_frame_is_too(make_site: MakeSite, watch: Watch, name: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site, MSGPACK)
    socket.send(MSGPACK_FRAMES[name])
    error = await answer(socket)
    assert (error["type"], error["code"]) == ("error", "bad_frame")
    assert "bad frame" in watch.once()
    socket.send(packed(type="ping"))
    assert await answer(socket) == {"type": "pong"}
    await serves(site)


@pytest.mark.parametrize("name", JSON_FRAMES)
async def test_a_bad_first_frame_closes(make_site: MakeSite, watch: Watch, name: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await site.websocket()
    socket.send(JSON_FRAMES[name])
    assert await closed(socket) == (["bad_frame"], 4400)
    assert "closing a client" in watch.once()
    await serves(site)


@pytest.mark.parametrize("frame", ["ping", "interrupt", "pause", "continue"])
async def test_a_first_frame_that_opens_nothing_closes(make_site: MakeSite, watch: Watch, frame: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await site.websocket()
    socket.send(json.dumps({"type": frame}))
    assert await closed(socket) == (["bad_frame"], 4400)
    watch.once()


@pytest.mark.parametrize(
    "field",
    ['"after": -1', '"after": 9007199254740992', '"part": -1', '"session": ""', '"token": 1', '"chunk": "line"'],
)
async def test_a_bad_hello_closes(make_site: MakeSite, watch: Watch, field: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await site.websocket()
    socket.send(f'{{"type": "hello", {field}}}')
    assert await closed(socket) == (["bad_frame"], 4400)
    watch.once()


async def test_the_tenth_bad_frame_closes(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    for _ in range(9):
        socket.send(CANARY)
        assert (await answer(socket))["code"] == "bad_frame"
    socket.send('{"type": "ping"}')
    assert (await answer(socket))["type"] == "pong"
    assert len(watch.records()) == 9
    socket.send(CANARY)
    assert await closed(socket) == (["bad_frame"], 4400)
    watch.once()
    await serves(site)


async def test_after_the_close_nothing_is_served(make_site: MakeSite) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    socket = await site.websocket()
    socket.send(CANARY)
    socket.send(MESSAGE)
    socket.send('{"type": "hello"}')
    assert await closed(socket) == (["bad_frame"], 4400)
    assert agent.turns == []


async def test_a_second_hello_closes(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    socket.send('{"type": "hello"}')
    assert await closed(socket) == (["conflict"], 4409)
    watch.once()
    socket = await site.websocket()
    socket.send('{"message": " "}')
    socket.send('{"type": "hello"}')
    codes, code = await closed(socket)
    assert (set(codes), code) == ({None, "empty_message", "conflict"}, 4409)


async def test_no_first_frame_closes(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=Timeouts(hello=0.1))
    socket = await site.websocket()
    assert await closed(socket) == (["hello_timeout"], 4408)
    watch.once()


async def test_binary_where_text_belongs_and_the_other_way_round(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    for fields, message, code in ((None, MESSAGE.encode(), "binary_frame"), (MSGPACK, MESSAGE, "text_frame")):
        socket = await opened(site, fields)
        socket.send(message)
        assert (await answer(socket))["code"] == code
        watch.once()
        socket = await site.websocket(fields or {})
        socket.send(message)
        assert (await answer(socket))["code"] == code
        assert await socket.close_code() == 4400
        watch.once()
    await serves(site)


# Frames that are odd and good


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ('{"message": "a", "unknown": {"x": [1, 1e400]}}'.replace("1e400", "2"), "a"),
        ('{"message": "a", "message": "b"}', "b"),
        ('{"type": "message", "data": "a", "data": "b"}', "b"),
        ('{"message": "\\u0000\\ud83d\\ude00"}', "\0😀"),
        ('{"message": "a", "id": "' + "x" * 64 + '"}', "a"),
        ('\n {"message" :\t"a"}\r\n', "a"),
        (json.dumps({"type": "message", "data": "a", "message": "b"}), "a"),
        (json.dumps({"message": "\x7f\u202e\ufffe"}), "\x7f\u202e\ufffe"),
    ],
)
async def test_what_is_odd_and_allowed_is_served(make_site: MakeSite, watch: Watch, frame: str, text: str) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    socket = await site.websocket()
    socket.send(frame)
    assert (await socket.until("user"))["data"] == text
    await socket.until("done")
    assert agent.turns[0].message == text
    assert watch.records() == []


async def test_frames_of_one_packet_are_answered_while_they_are_read(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["a"]), limits=Limits(frame_burst=2_000))
    socket = await opened(site)
    for number in range(1_000):  # more answers than may wait, which is no fault of a client that reads them
        socket.send(f'{{"type": "ping", "data": "{number}"}}')
    assert [(await answer(socket)).get("data") for _ in range(1_000)] == [str(number) for number in range(1_000)]


@pytest.mark.parametrize("kind", ["ping", "interrupt"])
async def test_a_key_twice_is_one_frame_with_one_answer(make_site: MakeSite, kind: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    socket.send(f'{{"type": "{kind}", "type": "ping", "data": "a", "data": "b"}}')
    socket.send('{"type": "ping", "data": "last"}')
    answers = [await answer(socket)]
    while answers[-1].get("data") != "last":
        answers.append(await answer(socket))
    assert len(answers) <= 2


@pytest.mark.parametrize("text", ["", " ", "\t\r\n\u2003"])
async def test_an_empty_message_is_rejected(make_site: MakeSite, text: str) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    socket = await opened(site)
    socket.send(json.dumps({"message": text, "id": "c1"}))
    rejected = await answer(socket)
    assert (rejected["type"], rejected["code"], rejected["id"]) == ("rejected", "empty_message", "c1")
    assert agent.turns == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "interrupt", "run": CANARY}, "run_not_found"),
        ({"type": "reply", "request": CANARY, "data": CANARY}, "request_not_open"),
    ],
)
async def test_what_is_not_there_is_said_in_our_own_words(
    make_site: MakeSite, watch: Watch, frame: dict[str, str], code: str
) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    for _ in range(20):  # more than the bad frames that a connection may send: this is none
        socket.send(json.dumps(frame))
        error = await socket.frame()
        assert (error.pop("type"), error.pop("code"), error.pop("about")) == ("error", code, CANARY)
        assert CANARY not in json.dumps(error)
    watch.records()
    socket.send('{"type": "ping"}')
    assert (await answer(socket))["type"] == "pong"


async def test_a_reply_reaches_every_wire_as_it_was_sent(make_site: MakeSite) -> None:
    data: dict[str, Any] = {"deep": [[[[{"x": [None, True, -(2**53 - 1), 1.5e300, "\0ü"]}]]]], "": {}}

    async def agent(turn: Turn) -> str:
        return json.dumps(await turn.ask("question", "Well?"))

    site = await make_site(agent)
    ours = await site.websocket(MSGPACK)
    ours.send(packed(message="x"))
    session = await answer(ours)
    other = await site.websocket()
    other.send(json.dumps({"type": "hello", "session": session["session"], "token": session["token"]}))
    request = (await other.until("request"))["request"]
    ours.send(packed(type="reply", request=request, data=data))
    assert (await other.until("resolved"))["data"] == data
    assert json.loads((await other.until("content"))["data"]) == data
    while (frame := await answer(ours))["type"] != "resolved":
        pass
    assert frame["data"] == data


# What breaks the rules of WebSocket


def fragments(total: int, size: int) -> Iterable[bytes]:
    """A text message in frames of `size`, unmasked bits aside."""
    for start in range(0, total, size):
        head = (0x01 if start == 0 else 0x00) | (0x80 if start + size >= total else 0)
        yield bytes([head, 0xFE]) + struct.pack("!H", size) + bytes(4) + b"x" * size


BROKEN = {
    "too big": (bytes([0x81, 0xFF]) + struct.pack("!Q", 65_537) + bytes(4), 1009),
    "huge": (bytes([0x81, 0xFF]) + struct.pack("!Q", 2**62) + bytes(4), 1009),
    "too big in fragments": (b"".join(fragments(70_000, 1000)), 1009),
    "too many fragments": (b"\x01\x80" + bytes(4) + (b"\x00\x80" + bytes(4)) * 2000, 1009),
    "not UTF-8": (b"\x81\x8e" + bytes(4) + CANARY.encode() + b"\xff\xfe", 1007),
    "not masked": (b"\x81\x0c" + CANARY.encode(), 1002),
    "an unknown opcode": (b"\x83\x8c" + bytes(4) + CANARY.encode(), 1002),
    "a reserved bit": (b"\xc1\x8c" + bytes(4) + CANARY.encode(), 1002),
    "a long control frame": (b"\x89\xfe\x00\xff" + bytes(4) + b"x" * 255, 1002),
    "a fragmented control frame": (b"\x09\x80" + bytes(4), 1002),
    "a continuation of nothing": (b"\x80\x8c" + bytes(4) + CANARY.encode(), 1002),
    "a close code that is none": (b"\x88\x82" + bytes(4) + struct.pack("!H", 1005), 1002),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("state", ["opening", "open"])
async def test_what_is_no_websocket_closes(make_site: MakeSite, watch: Watch, state: str, name: str) -> None:
    data, code = BROKEN[name]
    site = await make_site(Scripted(["Hi"]))
    socket = await (opened(site) if state == "open" else site.websocket())
    socket.writer.write(data)
    assert await socket.close_code() == code
    assert str(code) in watch.once()
    await serves(site)


async def test_a_close_between_two_fragments_is_in_order(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    socket.writer.write(b"\x01\x81" + bytes(4) + b"x" + b"\x88\x82" + bytes(4) + struct.pack("!H", 1000))
    assert await socket.close_code() == 1000
    await serves(site)


async def test_a_message_of_just_the_limit_is_served(make_site: MakeSite) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent, limits=Limits(message_bytes=1000))
    frame = '{"message": ""}'
    socket = await site.websocket()
    socket.send(frame.replace('""', f'"{"x" * (1000 - len(frame))}"'))
    await socket.until("done")
    socket.send(frame.replace('""', f'"{"x" * (1001 - len(frame))}"'))
    assert await socket.close_code() == 1009
    assert len(agent.turns) == 1


@pytest.mark.parametrize("binary", [False, True])
async def test_a_million_levels_are_a_bad_frame_with_any_limit(
    make_site: MakeSite, watch: Watch, *, binary: bool
) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(message_bytes=4 * DEEP))
    frames: list[str | bytes] = ["[" * DEEP, '{"a":' * (DEEP // 2), f'{{"type": "x", "y": {"[" * DEEP}{"]" * DEEP}}}']
    frames.append(f'{{"message": "x", "y": {"[" * DEEP}{"]" * DEEP}}}')
    if binary:
        head = b"\x82\xa4type\xa5reply\xa4data"
        frames = [b"\x91" * DEEP, b"\x81\xa1x" * DEEP, head + b"\x91" * DEEP + b"\xc0"]
    socket = await opened(site, MSGPACK if binary else None)
    for frame in frames:
        socket.send(frame)
        assert (await answer(socket))["code"] == "bad_frame"
        watch.once()
    await serves(site)


# Subprotocols


@pytest.mark.parametrize("asked", ["graphql-ws", "agent-ws.v2.json", "AGENT-WS.V1.JSON", "x, y", "agent-ws.v1", CANARY])
async def test_only_unknown_subprotocols_are_refused(make_site: MakeSite, asked: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    _, response = await site.shake_hands({"sec-websocket-protocol": asked})
    body = await response.body()
    assert response.status == 400
    assert json.loads(body)["error"]["code"] == "bad_frame"
    assert CANARY.encode() not in body


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("agent-ws.v1.json", "agent-ws.v1.json"),
        ("agent-ws.v1.msgpack", "agent-ws.v1.msgpack"),
        ("agent-ws.v9.json, agent-ws.v1.msgpack, agent-ws.v1.json", "agent-ws.v1.msgpack"),
    ],
)
async def test_the_first_subprotocol_that_is_known_is_taken(make_site: MakeSite, asked: str, got: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    _, response = await site.shake_hands({"sec-websocket-protocol": asked})
    assert (response.status, response.header("sec-websocket-protocol")) == (101, got)


async def test_without_a_subprotocol_there_is_none_in_the_answer(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    _, response = await site.shake_hands()
    assert (response.status, response.header("sec-websocket-protocol")) == (101, "")


# Sessions of others


async def theirs(site: Site) -> dict[str, Any]:
    """The `session` frame of somebody else."""
    socket = await site.websocket()
    socket.send(MESSAGE)
    session = await socket.frame()
    await socket.until("settled")
    return session


IDS = ("nowhere", CANARY, "../../etc/passwd", "x" * 64, "' OR 1=1 --", "ü\0😀")


@pytest.mark.parametrize("token", [None, "wrong", "ü"])
async def test_hello_to_a_session_of_somebody_else_is_as_to_none(
    make_site: MakeSite, watch: Watch, token: str | None
) -> None:
    site = await make_site(Scripted(["Hi"]))
    session = await theirs(site)
    answers: list[tuple[list[bytes], bytes]] = []
    for name in (session["session"], *IDS):
        socket = await site.websocket()
        socket.send(
            json.dumps({"type": "hello", "session": name, "token": token, "epoch": session["epoch"], "after": 1})
        )
        opcode, error = await socket.receive()
        assert opcode == 1
        opcode, close = await socket.receive()
        assert opcode == 8
        answers.append(([error], close))
        watch.once()
    assert answers == [answers[0]] * len(answers)
    assert json.loads(answers[0][0][0])["code"] == "session_not_found"
    assert struct.unpack("!H", answers[0][1][:2])[0] == 4404
    await serves(site)


@pytest.mark.parametrize("path", [STREAM, "/api/agent/interrupt", "/api/agent/reply"])
async def test_a_call_to_a_session_of_somebody_else_is_as_to_none(make_site: MakeSite, watch: Watch, path: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    session = await theirs(site)
    answers: list[tuple[int, list[tuple[str, str]], bytes]] = []
    for name in (session["session"], *IDS):
        for token in (None, "wrong"):
            body = {"session": name, "token": token, "request": "q1", "message": CANARY}
            response = await site.post(path, body)
            answers.append((response.status, response.fields, await response.body()))
            watch.once()
    assert answers == [answers[0]] * len(answers)
    assert answers[0][0] == 404
    assert json.loads(answers[0][2])["error"]["code"] == "session_not_found"


async def test_a_get_for_a_session_of_somebody_else_is_as_for_none(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    session = await theirs(site)
    answers: list[tuple[int, bytes]] = []
    for name in (session["session"], "nowhere"):
        response = await site.get(f"{STREAM}?session={name}&message={CANARY}&epoch={session['epoch']}&after=1")
        answers.append((response.status, await response.body()))
        watch.once()
        response = await site.get(STREAM, {"last-event-id": f"{name}.{session['epoch']}.1."})
        answers.append((response.status, await response.body()))
        watch.once()
    assert answers == [answers[0]] * 4
    assert answers[0][0] == 404


# HTTP

HTTP_BODIES = {
    "empty": b"",
    "not JSON": CANARY.encode(),
    "a list": f'["{CANARY}"]'.encode(),
    "not UTF-8": b'{"message": "' + CANARY.encode() + b'\xff"}',
    "a lone surrogate": f'{{"message": "{CANARY}\\ud800"}}'.encode(),
    "a wrong type": f'{{"message": {{"{CANARY}": 1}}}}'.encode(),
    "an unknown option": f'{{"message": "x", "when_busy": "{CANARY}"}}'.encode(),
    "a huge id": f'{{"message": "x", "id": "{CANARY * 10}"}}'.encode(),
    "a negative number": b'{"message": "x", "epoch": "e", "after": -1}',
    "2^64": b'{"message": "x", "epoch": "e", "after": 18446744073709551616}',
    "NaN": b'{"message": "x", "epoch": "e", "after": NaN}',
    "deep": b"[" * 60_000,
    "deep inside": b'{"message": "x", "y": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
}


@pytest.mark.parametrize("name", HTTP_BODIES)
async def test_a_bad_body_is_answered_and_logged_once(make_site: MakeSite, watch: Watch, name: str) -> None:
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    response = await site.post(STREAM, HTTP_BODIES[name])
    body = await response.body()
    assert response.status == 400
    assert json.loads(body)["error"]["code"] == "bad_frame"
    assert CANARY.encode() not in body
    assert b"Traceback" not in body
    watch.once()
    assert agent.turns == []
    await serves(site)


@pytest.mark.parametrize(
    "query", [f"?message=x&when_busy={CANARY}", f"?message=x&id={CANARY * 10}", "?session=&message=x"]
)
async def test_bad_parameters_are_answered_and_logged_once(make_site: MakeSite, watch: Watch, query: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    response = await site.get(STREAM + query)
    body = await response.body()
    assert (response.status, json.loads(body)["error"]["code"]) == (400, "bad_frame")
    assert CANARY.encode() not in body
    watch.once()


@pytest.mark.parametrize("data", ["18446744073709551616", "[" * 100 + "]" * 100, '{"a": [-9007199254740992]}'])
async def test_a_bad_reply_is_answered_and_logged_once(make_site: MakeSite, watch: Watch, data: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    body = f'{{"session": "x", "request": "q1", "data": {data}}}'
    response = await site.post("/api/agent/reply", body.encode())
    assert (response.status, (await response.json())["error"]["code"]) == (400, "bad_frame")
    watch.once()


@pytest.mark.parametrize("path", ["/api/agent/interrupt", "/api/agent/reply"])
async def test_a_call_without_a_session_is_a_bad_request(make_site: MakeSite, watch: Watch, path: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    response = await site.post(path, {"request": CANARY, "token": CANARY})
    body = await response.body()
    assert (response.status, json.loads(body)["error"]["code"]) == (400, "bad_frame")
    assert CANARY.encode() not in body
    watch.once()


async def test_what_is_no_http_is_answered_and_cut(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    site = await make_site(Scripted(["Hi"]))
    for data in (CANARY.encode() + b"\r\n\r\n", b"\x16\x03\x01\x00\xa5" + CANARY.encode(), b"GET / HTTP/9.9\r\n\r\n"):
        reader, writer = await site.dial()
        writer.write(data)
        response = Response(reader, writer)
        await response.head()
        assert response.status == 400
        assert CANARY.encode() not in await response.body()
    assert CANARY not in caplog.text
    await serves(site)


async def test_a_head_that_does_not_end_is_not_waited_for(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=Timeouts(hello=0.1))
    for begun in (b"GET / HT", b"GET / HTTP/1.1\r\nx: " + CANARY.encode()):
        reader, writer = await site.dial()
        writer.write(begun)
        response = Response(reader, writer)
        await response.head()
        assert response.status == 408
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        watch.once()
    reader, _ = await site.dial()
    async with asyncio.timeout(5):
        assert await reader.read() == b""  # who says nothing is told nothing
    assert watch.records() == []
    first = site.head("GET", "/healthz", ())
    reader, writer = await site.dial()
    for rest in (first, b"GET / HT"):
        writer.write(rest)
        response = Response(reader, writer)
        await response.head()
        await response.body()
    assert response.status == 408
    await serves(site)


async def test_a_head_that_is_too_long_is_refused(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    for line in (f"x: {CANARY * 20_000}\r\n", f"x: {CANARY}\r\n" * 10_000):
        reader, writer = await site.dial()
        writer.write(b"GET / HTTP/1.1\r\n" + line.encode())
        response = Response(reader, writer)
        await response.head()
        assert response.status == 431
        watch.once()
    fits = await site.get("/healthz", {"x": "y" * 100_000})
    assert fits.status == 200
    await serves(site)


async def test_a_stream_outlives_the_time_for_its_head(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["One, ", gate, "two."]), timeouts=Timeouts(hello=0.1, heartbeat=0.06))
    response = await site.post(STREAM, {"message": "x"})
    socket = await site.websocket()
    socket.send('{"type": "hello"}')
    await answer(socket)
    beats = 0
    while beats < 3:
        beats += (await response.chunk()).count(b": \n\n")
    gate.set()
    assert b"two." in await response.body()
    socket.send('{"type": "ping"}')
    assert (await answer(socket))["type"] == "pong"


async def test_a_head_that_comes_in_one_piece_has_the_same_limit(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    for fields in ([("x", CANARY * 12_000)], [("x", CANARY)] * 8_000):
        response = await site.get("/healthz", fields)
        assert response.status == 431
        assert "too long" in watch.once()
    assert (await site.get(f"/healthz?{CANARY * 12_000}")).status == 431
    watch.once()
    await serves(site)


async def test_trailers_have_it_too(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    reader, writer = await site.dial()
    writer.write(site.head("POST", STREAM, {"transfer-encoding": "chunked"}) + b"0\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            writer.write(f"x: {CANARY}\r\n".encode() * 1_000)
            await writer.drain()
    await eventually(lambda: not site.server.server_state.connections)
    assert "too long" in watch.once()
    assert b" 200 " not in await rest_of(reader)
    await serves(site)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            while part := await reader.read(65_536):
                data += part
    return data


UPGRADE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
TOO_LONG = 431 if websockets_version.startswith("17.") else 400
"""What websockets answers; before 17 it says only that something is bad."""
SECOND_OPINIONS = {
    "many fields": ([(f"x{number}", CANARY) for number in range(150)], TOO_LONG),
    "a long field": ([("x", CANARY * 800)], TOO_LONG),
    "a body": ([("content-length", "100")], 400),
    "chunks": ([("transfer-encoding", "chunked")], 400),
}


@pytest.mark.parametrize("name", SECOND_OPINIONS)
async def test_a_handshake_that_only_one_of_two_parsers_takes_is_answered(
    make_site: MakeSite, watch: Watch, name: str
) -> None:
    fields, status = SECOND_OPINIONS[name]
    site = await make_site(Scripted(["Hi"]))
    _, response = await site.shake_hands(fields)
    assert response.status == status
    assert CANARY.encode() not in await response.body()
    assert "handshake" in watch.once()
    await eventually(lambda: not site.server.server_state.connections)
    await serves(site)


async def test_a_handshake_of_an_old_version_is_refused(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    reader, writer = await site.dial()
    writer.write(site.head("GET", "/ws", UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0"))
    response = Response(reader, writer)
    await response.head()
    assert response.status == 400
    assert "handshake" in watch.once()


async def test_a_text_that_is_none_before_a_close_is_no_bug(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    socket.writer.write(b"\x81\x82" + bytes(4) + b"\xff\xfe" + b"\x88\x82" + bytes(4) + b"\x03\xe8")
    assert await socket.close_code() == 1000
    await eventually(lambda: not site.server.server_state.tasks)
    assert watch.records() == []
    await serves(site)


async def test_the_rest_of_a_request_that_was_answered_is_not_waited_for(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=Timeouts(hello=0.2))
    reader, writer = await site.dial()
    writer.write(site.head("GET", "/healthz", (), length=1_000_000) + b"x")
    response = Response(reader, writer)
    await response.head()
    assert response.status == 200
    await response.body()
    with contextlib.suppress(ConnectionError):
        while not reader.at_eof():  # a byte now and then
            writer.write(b"x")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    assert await reader.read() == b""
    assert not site.server.server_state.connections
    kept = await site.get("/healthz", ())
    assert kept.status == 200
    await serves(site)


async def test_a_websocket_on_a_connection_that_was_used_before_lives_on(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["One, ", gate, "two."]), timeouts=Timeouts(hello=0.1))
    reader, writer = await site.dial()
    writer.write(site.head("POST", "/healthz", (), length=2) + b"{")
    response = Response(reader, writer)
    await response.head()
    await response.body()
    writer.write(b"}" + site.head("GET", "/ws", UPGRADE))
    response = Response(reader, writer)
    await response.head()
    assert response.status == 101
    socket = RawWebSocket(reader, writer)
    socket.send(MESSAGE)
    await socket.until("content")
    with pytest.raises(TimeoutError):  # longer than anything waits for a head or for the rest of a request
        async with asyncio.timeout(0.3):
            await socket.until("done")
    gate.set()
    await socket.until("done")


@pytest.mark.parametrize("state", ["gone", "idle", "closed"])
async def test_what_was_refused_takes_no_memory_any_more(make_site: MakeSite, state: str) -> None:
    """Not even until the garbage is collected: the cycles are few, and what hangs on them is big."""
    site = await make_site(Scripted(["Hi"]), limits=Limits(message_bytes=2 * DEEP))
    sockets = [await (site.websocket() if state == "closed" else opened(site)) for _ in range(10)]
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for socket in sockets:
            socket.send("[" * DEEP)
            assert (await answer(socket))["code"] == "bad_frame"
            if state != "idle":
                socket.cut()
        if state != "idle":
            await eventually(lambda: not site.server.server_state.tasks)
        sockets.clear()
        assert tracemalloc.get_traced_memory()[0] < (13 if state == "idle" else 3) * DEEP
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_requests_that_wait_for_answers_have_a_limit(make_site: MakeSite, watch: Watch) -> None:
    site = await make_site(Scripted(["Hi"]))
    reader, writer = await site.dial()
    writer.write(site.head("GET", "/healthz", ()) * 10)
    for _ in range(10):
        response = Response(reader, writer)
        await response.head()
        assert (response.status, await response.body()) != (0, b"")
    assert watch.records() == []
    writer.write(site.head("GET", "/healthz", ()) * 1_000)
    answers = await rest_of(reader)
    assert answers.count(b"HTTP/1.1 ") < 20
    assert b" 429 " in answers
    assert "wait for their answers" in watch.once()
    await serves(site)


async def test_many_frames_in_one_packet_are_refused_before_the_last_is_read(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    socket = await opened(site)
    (protocol,) = site.server.server_state.connections
    before = time.process_time()
    protocol.data_received(b"\x01\x80" + bytes(4) + (b"\x00\x80" + bytes(4)) * 40_000)
    assert time.process_time() - before < 0.15, "some thousand frames, not forty thousand"
    assert await socket.close_code() in (1009, 4429)


async def test_who_sends_the_rest_after_the_answer_and_then_nothing_is_let_go(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=Timeouts(hello=0.1))
    reader, writer = await site.dial()
    writer.write(site.head("POST", "/healthz", (), length=2) + b"{")
    response = Response(reader, writer)
    await response.head()
    await response.body()
    writer.write(b"}")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
