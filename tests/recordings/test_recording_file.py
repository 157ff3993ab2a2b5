"""The file of a recording: what it holds comes out byte by byte, and what is no recording is told with its line."""

import math
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_ws.frames import CODECS, JSON
from agent_ws.recording import (
    MSGPACK,
    WIRE,
    Closed,
    File,
    FromClient,
    FromServer,
    Header,
    Line,
    Opened,
    Recording,
    Refused,
    Unreadable,
    form,
    read,
)

HEADER = b'{"recording":1,"wire":"agent-ws.v1","made":"proxy","at":1.5}\n'
OPENED = b'{"is":"opened","t":0,"c":1,"path":"/ws"}\n'


def written(path: Path, *lines: Line) -> Recording:
    with File(path, "proxy", 1.5) as file:
        file.add(lines)
    return read(path)


def test_the_wire_is_the_one_that_the_server_speaks() -> None:
    assert JSON.name == f"{WIRE}.json"
    assert MSGPACK in CODECS


def test_what_is_written_is_read(tmp_path: Path) -> None:
    lines = (
        Opened(0.0, 1, "/ws", MSGPACK),
        FromClient(0.1, 1, **form('{"type":"hello"}', binary=False)),
        FromServer(0.2, 1, **form("no JSON\n", binary=False)),
        Refused(0.3, 2, "/ws", 401),
        Closed(0.4, 1, "server", 4503, "shutting_down"),
    )
    recording = written(tmp_path / "r", *lines)
    assert recording.lines == lines
    assert recording.header == Header(1, WIRE, "proxy", 1.5)
    assert recording.connections == {1: lines[0]}
    assert recording.place(0) == f"{tmp_path}/r, line 2"


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"ping"}',
        '{ "b" : 1.0, "a":\t[] , "a":2}',
        '{"é":"\\u00e9\u2028\\ud83d\\ude00😀"}',
        " {}",
        "{} ",
        '{\n"type": "hello"\n}',
        "{}\r",
        "[1]",
        "",
        "no JSON",
        '{"a":NaN}',
        "\ufeff{}",
        b"",
        b"\xff\x00",
    ],
    ids=repr,
)
def test_a_message_comes_out_as_it_came(message: str | bytes, tmp_path: Path) -> None:
    recording = written(tmp_path / "r", Opened(0, 1, "/ws"), FromServer(0, 1, **form(message, binary=False)))
    line = recording.lines[1]
    assert isinstance(line, FromServer)
    assert line.message(binary=False) == message


def test_what_can_be_read_stands_there_as_it_came(tmp_path: Path) -> None:
    written(tmp_path / "r", Opened(0, 1, "/ws"), FromClient(0, 1, **form('{"b": 1,  "a":2}', binary=False)))
    assert (tmp_path / "r").read_text().splitlines()[2] == '{"is":"client","t":0,"c":1,"frame":{"b": 1,  "a":2}}'


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a machine may be busy
@given(st.dictionaries(st.text(max_size=9), json, max_size=4))
def test_messagepack_comes_out_as_it_came(value: dict[str, Any]) -> None:
    data = msgspec.msgpack.encode(value)
    line = msgspec.json.decode(msgspec.json.encode(FromServer(0, 1, **form(data, binary=True))), type=FromServer)
    assert line.message(binary=True) == data


def test_messagepack_of_the_wire_can_be_read() -> None:
    data = msgspec.msgpack.encode({"type": "done", "seq": 3, "at": 1790000000.0})
    assert FromServer(0, 1, **form(data, binary=True)).value == {"type": "done", "seq": 3, "at": 1790000000.0}


@pytest.mark.parametrize("data", [b"\x81\xa1a\xd9\x01b", b"\x81\xa1a\xcf\0\0\0\0\0\0\0\x01", b"\x81", b"\xc1"])
def test_messagepack_in_another_form_comes_out_as_it_came(data: bytes) -> None:
    """Longer than need be, cut off, or none."""
    line = FromServer(0, 1, **form(data, binary=True))
    assert (line.value, line.message(binary=True)) == ({}, data)


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (b"", 1, "got no line"),
        (b"hello\n", 1, "expected a recording"),
        (b"\x89PNG\r\n\x1a\n", 1, "expected a recording"),
        (b"SQLite format 3\0", 1, "got no line"),
        (b'{"a":1}\n', 1, "expected a recording"),
        (HEADER.replace(b":1,", b":2,", 1), 1, "update agent-ws"),
        (HEADER.replace(b"v1", b"v9"), 1, "expected the wire agent-ws.v1, got 'agent-ws.v9'"),
        (HEADER + b"{\n", 2, "expected JSON"),
        (HEADER + b"\xff\n", 2, "expected JSON"),
        (HEADER + b"[" * 100_000 + b"\n", 2, "expected"),
        (HEADER + b"\n" + OPENED, 2, "expected JSON"),
        (HEADER + OPENED + b'{"is":"clien', 3, "cut off in the middle"),
        (HEADER + OPENED.rstrip(), 2, "cut off in the middle"),
        (HEADER + OPENED + b'{"is":"moved","t":0,"c":1}\n', 3, "moved"),
        (HEADER + OPENED + b'{"is":"client","t":0,"c":1}\n', 3, "expected one of"),
        (HEADER + OPENED + b'{"is":"client","t":0,"c":1,"text":"","base64":""}\n', 3, "expected one of"),
        (HEADER + OPENED + b'{"is":"client","t":0,"c":1,"base64":"%"}\n', 3, "expected Base64"),
        (HEADER + OPENED + b'{"is":"client","t":0,"c":1,"frame":[1]}\n', 3, "expected a JSON object"),
        (HEADER + OPENED + b'{"is":"client","t":0,"c":1,"frame":{"a":"\xff"}}\n', 3, "expected a JSON object"),
        (HEADER + OPENED + b'{"is":"closed","t":0,"c":1,"by":"me","code":1000}\n', 3, "me"),
        (HEADER + OPENED + b'{"is":"client","t":-1,"c":1,"text":""}\n', 3, "expected `t`"),
        (HEADER + OPENED + b'{"is":"client","t":1e999,"c":1,"text":""}\n', 3, "out of range"),
        (HEADER + OPENED + b'{"is":"client","t":0,"c":2,"text":""}\n', 3, "expected a connection that is open, got 2"),
        (HEADER + OPENED + OPENED, 3, "expected a new connection, got 1 again"),
        (HEADER + OPENED.replace(b'"t":0', b'"t":5') + b'{"is":"client","t":4,"c":1,"text":""}\n', 3, "5.0 or later"),
        (
            HEADER + OPENED + b'{"is":"closed","t":0,"c":1,"by":"client","code":1000}\n'
            b'{"is":"server","t":0,"c":1,"text":""}\n',
            4,
            "expected a connection that is open",
        ),
    ],
)
def test_what_is_no_recording_is_told_with_its_line(data: bytes, line: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(data)
    with pytest.raises(Unreadable) as told:
        read(path)
    assert f"{path}, line {line}: " in str(told.value)
    assert why in str(told.value)


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        read(tmp_path / "r")
    with pytest.raises(Unreadable, match="Is a directory"):
        read(tmp_path)


@settings(
    deadline=None,  # a machine may be busy
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],  # each example writes it anew
)
@given(noise=st.binary(max_size=200), at=st.integers(0, 200))
def test_damage_is_an_error_or_another_recording(noise: bytes, at: int, tmp_path: Path) -> None:
    whole = HEADER + OPENED + b'{"is":"client","t":1,"c":1,"frame":{"type":"hello"}}\n'
    path = tmp_path / "r"
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        recording = read(path)
    except Unreadable:
        pass
    else:
        assert all(math.isfinite(line.t) for line in recording.lines)


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("mine")
    with pytest.raises(ValueError, match="expected a new file"):
        File(tmp_path / "r", "proxy", 1.5)
    assert (tmp_path / "r").read_text() == "mine"
    with pytest.raises(ValueError, match="can't write"):
        File(tmp_path / "none" / "r", "proxy", 1.5)


def test_a_recording_is_for_its_owner_alone(tmp_path: Path) -> None:
    written(tmp_path / "r")
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600


def test_a_line_is_there_when_it_is_written(tmp_path: Path) -> None:
    """Whatever happens to the process behind it."""
    with File(tmp_path / "r", "proxy", 1.5) as file:
        for count in range(1, 4):
            file.add([Refused(0, count, "/ws", 401)])
            assert len(read(tmp_path / "r").lines) == count
