"""What a connection makes of bytes, however they are cut."""

import asyncio
from typing import Any, cast

import pytest

from agent_ws.load.link import CLOSE, PING, EventsLink, Link, WebSocketLink, frame
from agent_ws.load.target import Target, target

SERVER = Target("127.0.0.1", 8000, token="secret")
SHAKEN = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Ear:
    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.opens = 0
        self.whys: list[str] = []

    def opened(self) -> None:
        self.opens += 1

    def received(self, data: bytes, now: float) -> None:
        assert now == 7.0
        self.heard.append(data)

    def lost(self, why: str) -> None:
        self.whys.append(why)


class Wire:
    """A transport."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.aborted = True


def plugged(kind: type[WebSocketLink] | type[EventsLink]) -> tuple[Ear, Wire]:
    ear = Ear()
    link = kind(SERVER, ear, lambda: 7.0)
    wire = Wire(link)
    link.connection_made(cast("asyncio.Transport", cast("Any", wire)))
    return ear, wire


def feed(wire: Wire, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        wire.link.data_received(data[at : at + size])  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def served(payload: bytes, first: int = 0x81) -> bytes:
    """A server's frame, which has no mask."""
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 1 << 16:
        return bytes([first, 126]) + size.to_bytes(2) + payload
    return bytes([first, 127]) + size.to_bytes(8) + payload


MESSAGES = [b"{}", b"a" * 125, b"b" * 126, b"c" * 70_000, b"", b"d"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 10**6])
def test_messages_come_whole_however_they_are_cut(size: int) -> None:
    ear, wire = plugged(WebSocketLink)
    feed(wire, SHAKEN + b"".join(served(m) for m in MESSAGES), size)
    assert ear.opens == 1
    assert ear.heard == MESSAGES
    assert ear.whys == []


def test_a_message_of_one_small_frame_comes_at_once() -> None:
    ear, wire = plugged(WebSocketLink)
    feed(wire, SHAKEN, 1000)
    feed(wire, served(b"hello"), 1000)
    assert ear.heard == [b"hello"]


def test_fragments_are_put_together_around_a_ping() -> None:
    ear, wire = plugged(WebSocketLink)
    wire.sent = b""
    feed(wire, SHAKEN + served(b"one ", 0x01) + served(b"17", 0x89) + served(b"two ", 0x00) + served(b"x", 0x80), 5)
    assert ear.heard == [b"one two x"]
    assert wire.sent == frame(b"17", PING + 1)


def test_the_handshake_asks_for_what_it_should_and_brings_the_login() -> None:
    _, wire = plugged(WebSocketLink)
    assert wire.sent.startswith(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in wire.sent
    assert wire.sent.endswith(b"\r\n\r\n")


def test_a_close_says_why_and_is_answered() -> None:
    ear, wire = plugged(WebSocketLink)
    wire.sent = b""
    feed(wire, SHAKEN + served((4503).to_bytes(2) + b"overloaded", 0x88), 4)
    wire.link.connection_lost(None)
    assert ear.whys == ["closed with 4503 (overloaded)"]
    assert wire.sent == frame((4503).to_bytes(2), CLOSE)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("kind", [WebSocketLink, EventsLink])
def test_a_refusal_says_why(kind: type[WebSocketLink] | type[EventsLink], size: int) -> None:
    ear, wire = plugged(kind)
    body = b'{"error":{"code":"too_many_connections","message":"..."}}'
    feed(wire, b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n" + body, size)
    assert wire.aborted
    wire.link.connection_lost(None)
    assert ear.whys[0].startswith("refused with HTTP 503")
    assert size == 1 or ear.whys == ["refused with HTTP 503 (too_many_connections)"]


def test_what_is_no_server_is_given_up() -> None:
    ear, wire = plugged(WebSocketLink)
    feed(wire, b"x" * 20_000, 1000)
    wire.link.connection_lost(None)
    assert wire.aborted
    assert ear.whys == ["not HTTP"]


def test_who_cuts_a_connection_hears_nothing_more_of_it() -> None:
    ear, wire = plugged(WebSocketLink)
    feed(wire, SHAKEN, 1000)
    wire.link.cut()
    feed(wire, served(b"late"), 1000)
    wire.link.connection_lost(None)
    assert wire.aborted
    assert (ear.heard, ear.whys) == ([], [])


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_come_whole_and_one_answer_after_the_other(size: int) -> None:
    ear, wire = plugged(EventsLink)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = b"".join(b"%x\r\n%s\r\n" % (len(e), e) for e in (b"data: one\n\n", b"data: two\n\n"))
    for _ in range(2):
        wire.link.send(b"GET /stream HTTP/1.1\r\n\r\n")
        feed(wire, head + answer + b"0\r\n\r\n", size)
    assert ear.heard == [b"one", b"two"] * 2


@pytest.mark.parametrize(
    ("url", "authority", "path", "tls", "local"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "/ws", False, True),
        ("127.0.0.1:8000", "127.0.0.1:8000", "/ws", False, True),
        ("localhost:80/", "localhost:80", "/ws", False, True),
        ("https://chat.example.org", "chat.example.org:443", "/ws", True, False),
        ("wss://chat.example.org/agents/ws", "chat.example.org:443", "/agents/ws", True, False),
        ("http://example.org:8000/agents/", "example.org:8000", "/agents/ws", False, False),
        ("http://[::1]:8000", "[::1]:8000", "/ws", False, True),
    ],
)
def test_an_address_is_understood(url: str, authority: str, path: str, tls: bool, local: bool) -> None:  # noqa: FBT001
    found = target(url)
    assert (found.authority, found.path, found.tls, found.local) == (authority, path, tls, local)


@pytest.mark.parametrize("url", ["ftp://example.org", "http://", "http://x:99999", "http://u:p@x", "http://x?token=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected the URL of a server"):
        target(url)


def test_a_token_that_would_break_the_request_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a bearer token"):
        target("http://x", "a\r\nX: y")
