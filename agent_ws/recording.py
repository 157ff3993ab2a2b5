"""A recording: what went over connections, line by line, in one file.

    {"recording":1,"wire":"agent-ws.v1","made":"proxy","at":1790000000.0}
    {"is":"opened","t":0.0,"c":1,"path":"/ws","subprotocol":""}
    {"is":"client","t":0.0011,"c":1,"frame":{"type":"hello"}}
    {"is":"server","t":0.0024,"c":1,"frame":{"type":"session","session":"mZ8c","token":"secret-1"}}
    {"is":"closed","t":8.2,"c":1,"by":"client","code":1000}

The one rule: a line is whole or an error. Each is written in one call as it happens, so a recorder that is killed
leaves a file that can be read; and what can't be read is told with its line's number, never guessed at.

A frame stands in its line as it came, so it can be read and compared by eye, and goes out again byte by byte. What
can't stand there is `text` (no JSON object, or one of several lines) or `base64`.
"""

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast

import msgspec
from msgspec import Raw, Struct

VERSION = 1
"""Of the file's form. A higher one is refused."""
WIRE = "agent-ws.v1"
MSGPACK = "agent-ws.v1.msgpack"
"""The subprotocol whose frames are binary."""
LOST = 1006
"""The code of a connection that was lost without a word (RFC 6455, 7.1.5)."""

Side = Literal["client", "server"]
Made = Literal["proxy", "watch", "log"]
"""`proxy`: between a client and a server. `watch`: as a client that only looks on. `log`: from a store, where text
has no times: they are spread between those of the events around it."""


class Unreadable(ValueError):
    """A file is no recording, or not one whole. The text has its name and the line."""


class Header(Struct, frozen=True):
    """The first line."""

    recording: int
    wire: str
    made: Made
    at: float
    """When `t` was 0, in seconds since 1970."""


class _Line(Struct, frozen=True, tag=str.lower, tag_field="is", omit_defaults=True):
    """What every line has."""

    t: float
    """Seconds since the recording began."""
    c: int
    """The connection: 1 is the first."""

    def __post_init__(self) -> None:
        if not 0 <= self.t < float("inf") or self.c < 1:
            raise ValueError("expected `t` of 0 or more and `c` of 1 or more")


class Opened(_Line, frozen=True):
    """A WebSocket was opened."""

    path: str
    """With the query."""
    subprotocol: str = ""
    """What the server chose, if anything."""

    @property
    def binary(self) -> bool:
        """Whether its frames are MessagePack."""
        return self.subprotocol == MSGPACK


class Refused(_Line, frozen=True):
    """A handshake was refused."""

    path: str
    status: int


class _Said(_Line, frozen=True):
    """A WebSocket message, in the one form of three that holds all of it."""

    frame: Raw = Raw()
    text: str | None = None
    base64: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(form is not None for form in (self.frame or None, self.text, self.base64)) != 1:
            raise ValueError("expected one of `frame`, `text` and `base64`")
        if self.frame:
            check_frame(bytes(self.frame))
        if self.base64 is not None:
            try:
                b64decode(self.base64, validate=True)
            except binascii.Error:
                raise ValueError("expected Base64 as `base64`") from None

    @property
    def value(self) -> dict[str, Any]:
        """The frame as an object; an empty one where it is none."""
        return {} if not self.frame else msgspec.json.decode(self.frame)

    def message(self, *, binary: bool) -> str | bytes:
        """The WebSocket message, byte by byte. `binary`: of a connection with MessagePack."""
        if self.base64 is not None:
            return b64decode(self.base64)
        if self.text is not None:
            return self.text
        return msgspec.msgpack.encode(self.value) if binary else bytes(self.frame).decode()


class FromClient(_Said, frozen=True, tag="client"):
    """A client sent this."""


class FromServer(_Said, frozen=True, tag="server"):
    """The server sent this."""


class Closed(_Line, frozen=True):
    """A connection was closed."""

    by: Side
    code: int
    """1006: lost without a word."""
    reason: str = ""


Line: TypeAlias = Opened | Refused | FromClient | FromServer | Closed


def check_frame(data: bytes) -> dict[str, Any]:
    """A JSON object, decoded. Raises `ValueError`."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object as `frame`")  # noqa: TRY004 - msgspec passes a ValueError on
    return cast("dict[str, Any]", value)


def form(message: str | bytes, *, binary: bool) -> dict[str, Any]:
    """The arguments of a `FromClient` or `FromServer` that say `message`, read again byte by byte as it was."""
    if isinstance(message, str):
        data = message.encode()
        if b"\n" not in data and b"\r" not in data and data == data.strip() and _is_frame(data):
            return {"frame": Raw(data)}
        return {"text": message}
    if binary:
        try:
            data = msgspec.json.encode(msgspec.msgpack.decode(message))
        except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError, ValueError):
            data = b""  # no MessagePack, or nothing that JSON could say
        if _is_frame(data) and msgspec.msgpack.encode(msgspec.json.decode(data)) == message:
            return {"frame": Raw(data)}
    return {"base64": b64encode(message).decode()}


def _is_frame(data: bytes) -> bool:
    try:
        check_frame(data)
    except ValueError:
        return False
    return True


class Recording(Struct, frozen=True):
    """A file that was read. `lines[i]` is on line `i + 2`."""

    path: str
    header: Header
    lines: tuple[Line, ...]

    def place(self, i: int) -> str:
        """Where `lines[i]` is, for people."""
        return f"{self.path}, line {i + 2}"

    @property
    def connections(self) -> dict[int, Opened]:
        """Those that were opened, in order."""
        return {line.c: line for line in self.lines if isinstance(line, Opened)}


_encode = msgspec.json.Encoder().encode
_header = msgspec.json.Decoder(Header)
_line: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a file. Raises `Unreadable`."""
    name = os.fspath(path)
    try:
        *texts, rest = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise Unreadable(f"can't read {name}: {error.strerror}") from error
    if not texts:
        raise Unreadable(f"{name}, line 1: expected a recording (`agent-ws record` makes one), got no line")
    lines: list[Line] = []
    state: dict[int, bool] = {}
    header: Header | None = None
    for number, text in enumerate(texts, 1):
        try:
            if header is None:
                header = _read_header(text)
                continue
            line = _line.decode(text)
            _follow(state, line, lines[-1].t if lines else 0.0)
            lines.append(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
            raise Unreadable(f"{name}, line {number}: {_why(error)}") from None
    if rest:
        raise Unreadable(f"{name}, line {len(texts) + 1}: it is cut off in the middle; without it the rest can be read")
    assert header is not None  # noqa: S101 - there was a line
    return Recording(name, header, tuple(lines))


def _read_header(text: bytes) -> Header:
    try:
        header = _header.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        raise ValueError("expected a recording (`agent-ws record` makes one), got something else") from None
    if header.recording > VERSION:
        raise ValueError(f"expected a recording of version {VERSION}, got {header.recording}: update agent-ws")
    if header.wire != WIRE:
        raise ValueError(f"expected the wire {WIRE}, got {header.wire!r}")
    return header


def _follow(state: dict[int, bool], line: Line, last: float) -> None:
    """Raise `ValueError` where a line can't stand here. `state`: whether each connection so far is open."""
    if line.t < last:
        raise ValueError(f"expected a time of {last} or later, got {line.t}")
    match line:
        case Opened() | Refused():
            if line.c in state:
                raise ValueError(f"expected a new connection, got {line.c} again")
            state[line.c] = isinstance(line, Opened)
        case FromClient() | FromServer() | Closed():
            if not state.get(line.c):
                raise ValueError(f"expected a connection that is open, got {line.c}, which is not")
            state[line.c] = not isinstance(line, Closed)


def _why(error: Exception) -> str:
    match error:
        case msgspec.ValidationError():
            return f"expected a line of a recording, got one that is not: {error}"
        case msgspec.MsgspecError():
            return f"expected JSON, got something else: {error}"
        case UnicodeError() | RecursionError():
            return "expected JSON, got something else"
        case _:
            return str(error)


class File:
    """A recording that is being written. A context manager. `lines` counts what was written behind the header.

    Raises `ValueError` where the file is there already: a recording can't be made twice, so it is never written over.
    """

    def __init__(self, path: str | os.PathLike[str], made: Made, at: float) -> None:
        self.path = os.fspath(path)
        self.lines = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        try:
            self._file = os.open(path, flags, 0o600)  # it holds conversations
        except FileExistsError:
            raise ValueError(f"expected a new file, got {self.path}, which is there already") from None
        except OSError as error:
            raise ValueError(f"can't write {self.path}: {error.strerror}") from error
        self._write(Header(VERSION, WIRE, made, at))

    def add(self, lines: Sequence[Line]) -> None:
        """Write lines, each whole. Raises `OSError` where the disk is full, and the like."""
        for line in lines:
            self._write(line)
            self.lines += 1

    def _write(self, line: Header | Line) -> None:
        data = _encode(line) + b"\n"
        while data:
            data = data[os.write(self._file, data) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def drop(self) -> None:
        """Remove it, where nothing came of it."""
        Path(self.path).unlink()
