"""What a client's frame is taken for, and that an error tells nothing of what came."""

import msgspec
import pytest

from agent_ws.errors import FrameError
from agent_ws.events import Content, Resolved, Settled, User
from agent_ws.frames import (
    CODECS,
    JSON,
    MSGPACK,
    ClientFrame,
    Codec,
    Continue,
    Hello,
    Interrupt,
    Pause,
    Ping,
    Pong,
    Reply,
    Say,
    control_error,
)

SECRET = "hunter2"

GOOD: dict[str, tuple[object, ClientFrame]] = {
    "hello": ({"type": "hello"}, Hello()),
    "hello, back": (
        {"type": "hello", "session": "s", "token": "t", "epoch": "e", "after": 41, "part": 3, "chunk": "word"},
        Hello("s", "t", "e", 41, 3, "word"),
    ),
    "message": ({"type": "message", "data": "hi"}, Say("hi")),
    "message, all of it": (
        {"type": "message", "data": "hi", "id": "c1", "when_busy": "reject"},
        Say("hi", "c1", "reject"),
    ),
    "short": ({"message": "hi"}, Say("hi")),
    "short, all of it": ({"message": "hi", "id": "c1", "when_busy": "steer"}, Say("hi", "c1", "steer")),
    "interrupt": ({"type": "interrupt"}, Interrupt()),
    "interrupt, all of it": (
        {"type": "interrupt", "run": "r", "agent": "a", "section": "s", "seen": 0, "reason": "barge_in"},
        Interrupt("r", "a", "s", 0, "barge_in"),
    ),
    "pause": ({"type": "pause", "run": "r"}, Pause("r")),
    "continue": ({"type": "continue"}, Continue()),
    "reply": ({"type": "reply", "request": "q", "data": {"a": [1, None]}}, Reply("q", {"a": [1, None]})),
    "ping": ({"type": "ping", "data": "17"}, Ping("17")),
    "unknown fields": ({"type": "ping", "new": {"deep": [1]}}, Ping()),
    "null for nothing": ({"type": "message", "data": "hi", "id": None}, Say("hi")),
    "the greatest integer": ({"type": "interrupt", "seen": 2**53 - 1}, Interrupt(seen=2**53 - 1)),
    "an id of 64 characters": ({"type": "message", "data": "hi", "id": "é" * 64}, Say("hi", "é" * 64)),
}

BAD: dict[str, object] = {
    "no object": [1],
    "nothing": None,
    "text": SECRET,
    "empty": {},
    "unknown type": {"type": SECRET},
    "type of the wrong type": {"type": 7},
    "a server's frame": {"type": "content", "data": SECRET},
    "no data": {"type": "message"},
    "data of the wrong type": {"type": "message", "data": {SECRET: 1}},
    "short of the wrong type": {"message": [SECRET]},
    "an empty id": {"type": "message", "data": "hi", "id": ""},
    "an id too long": {"type": "message", "data": "hi", "id": SECRET * 10},
    "an unknown policy": {"type": "message", "data": "hi", "when_busy": SECRET},
    "an unknown policy, short": {"message": "hi", "when_busy": SECRET},
    "seen below zero": {"type": "interrupt", "seen": -1},
    "seen beyond 2^53": {"type": "interrupt", "seen": 2**53},
    "seen as text": {"type": "interrupt", "seen": SECRET},
    "a fraction of a character": {"type": "interrupt", "seen": 1.5},
    "an unknown chunk": {"type": "hello", "chunk": SECRET},
    "a reply to nothing": {"type": "reply", "data": SECRET},
    "a ping too long": {"type": "ping", "data": SECRET * 20},
}

RAW: dict[str, tuple[Codec, str | bytes, str]] = {
    "empty": (JSON, "", "bad_frame"),
    "not JSON": (JSON, f"{{{SECRET}", "bad_frame"),
    "half": (JSON, '{"type": "ping", "da', "bad_frame"),
    "two": (JSON, '{"type": "ping"} {"type": "ping"}', "bad_frame"),
    "NaN": (JSON, '{"type": "reply", "request": "q", "data": NaN}', "bad_frame"),
    "a number too big": (JSON, '{"type": "reply", "request": "q", "data": 1e999}', "bad_frame"),
    "half a character": (JSON, '{"type": "message", "data": "\\ud800"}', "bad_frame"),
    "nested 1,000,000 deep": (JSON, '{"type": "reply", "request": "q", "data": ' + "[" * 1_000_000, "bad_frame"),
    "objects 1,000,000 deep": (JSON, '{"a":' * 1_000_000, "bad_frame"),
    "binary": (JSON, b'{"type": "ping"}', "binary_frame"),
    "text": (MSGPACK, '{"type": "ping"}', "text_frame"),
    "empty binary": (MSGPACK, b"", "bad_frame"),
    "half a map": (MSGPACK, b"\x81\xa4type", "bad_frame"),
    "not MessagePack": (MSGPACK, b"\xc1", "bad_frame"),
    "not UTF-8": (MSGPACK, b"\x82\xa4type\xa7message\xa4data\xa2\xff\xfe", "bad_frame"),
    "not UTF-8 in the short form": (MSGPACK, b"\x81\xa7message\xa2\xff\xfe", "bad_frame"),
    "arrays 1,000,000 deep": (MSGPACK, b"\x91" * 1_000_000, "bad_frame"),
    "a length of 4 GiB": (MSGPACK, b"\xdd\xff\xff\xff\xff", "bad_frame"),
}


def encoded(codec: Codec, frame: object) -> str | bytes:
    return msgspec.msgpack.encode(frame) if codec.binary else msgspec.json.encode(frame).decode()


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("name", GOOD)
def test_good(codec: Codec, name: str) -> None:
    frame, expected = GOOD[name]
    assert codec.decode(encoded(codec, frame)) == expected


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("name", BAD)
def test_bad(codec: Codec, name: str) -> None:
    with pytest.raises(FrameError) as refused:
        codec.decode(encoded(codec, BAD[name]))
    assert refused.value.code == "bad_frame"
    assert str(refused.value).startswith("expected ")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("name", RAW)
def test_raw(name: str) -> None:
    codec, data, code = RAW[name]
    with pytest.raises(FrameError) as refused:
        codec.decode(data)
    assert refused.value.code == code
    assert SECRET not in str(refused.value)
    assert len(str(refused.value)) < 300


UNPRINTABLE: dict[str, tuple[Codec, object]] = {
    "an integer beyond 64 bits": (JSON, 10**30),
    "an extension type": (MSGPACK, msgspec.msgpack.Ext(5, b"x")),
    "a map with an array as key": (MSGPACK, {(1, 2): 3}),
    "bytes": (MSGPACK, b"\xff"),
    "nested deeper than any reader goes": (JSON, msgspec.json.decode("[" * 500 + "]" * 500)),
}


@pytest.mark.parametrize("name", UNPRINTABLE)
def test_a_reply_that_the_other_wire_could_not_print_is_refused(name: str) -> None:
    codec, data = UNPRINTABLE[name]
    with pytest.raises(FrameError) as refused:
        codec.decode(encoded(codec, {"type": "reply", "request": "q", "data": data}))
    assert refused.value.code == "bad_frame"


def test_whatever_is_decoded_as_a_reply_both_wires_can_print() -> None:
    data: dict[str, object] = {"a": [1, -1, 2**53 - 1, 1.5, None, True, "é🙂"], "": {"b": []}}
    for codec in CODECS.values():
        frame = codec.decode(encoded(codec, {"type": "reply", "request": "q", "data": data}))
        assert isinstance(frame, Reply)
        for other in CODECS.values():
            assert other.encode(Resolved("q", "replied", frame.data))


def test_both_subprotocols_print_the_same() -> None:
    for frame in (
        User(id="c1", data="é🙂", run="r1", seq=1),
        Content("a", seq=2, run="r1", part=3),
        Settled("cancelled", tools={"t1": "running"}),
        Pong(None),
        control_error(FrameError("expected this")),
    ):
        assert msgspec.json.decode(JSON.encode(frame)) == msgspec.msgpack.decode(MSGPACK.encode(frame))


def test_a_text_has_a_part_only_where_a_prefix_was_sent() -> None:
    assert msgspec.json.decode(JSON.encode(Content("a", seq=2, run="r1"))) == {
        "type": "content",
        "seq": 2,
        "run": "r1",
        "data": "a",
    }
