"""Byte streams that break HTTP (RFC 9112) or WebSocket (RFC 6455), made from dice.

The one rule: what a stream has to end with is known from the standard, not from the server.
"""

import base64
import random
import struct
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
STREAM = "POST /api/agent/stream HTTP/1.1\r\nHost: localhost\r\n"
CALL = "POST /api/agent/interrupt HTTP/1.1\r\nHost: localhost\r\n"
GET = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    ("Host", "localhost"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
)

Start = Literal["socket", "handshake", "hello"]
"""What went well before: a connection, a WebSocket handshake, the first frame too."""


class Attack(Struct, frozen=True):
    """One stream, and how it has to end."""

    kind: str
    data: bytes
    start: Start = "socket"
    binary: bool = False
    """With the MessagePack subprotocol."""
    refused: bool = False
    """No success may be answered: only error statuses, or the end."""
    codes: frozenset[int] = frozenset()
    """The close codes that may end it; empty: any that PROTOCOL.md lists."""
    stays: bool = False
    """It may as well be served on."""
    then: bytes = b""
    """Sent after the first answer; then its end is the server's affair."""


# HTTP


def _bytes(rng: random.Random, size: int) -> bytes:
    return rng.randbytes(rng.randrange(1, size))


REQUEST_LINES = (
    b"GET", b"/ GET HTTP/1.1", b"GET / HTTP/1.1 more", b"G\0T / HTTP/1.1",
    b"get / HTTP/1.1",
    b"GET /\0 HTTP/1.1", b"GET / HTTP/9.9", b"GET / HTTP/1", b"GET / http/1.1", b"GET / ICY/1.1",
    b"GET\t/\tHTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", b"\xff\xfe\xfd",
    b"GET http://[::1 HTTP/1.1", b": / HTTP/1.1", b"{} / HTTP/1.1", b"GET / HTTP/1.1\0", b"\xef\xbb\xbfGET / HTTP/1.1",
    b"A" * 9000, b"G" * 200_000, b"GET /" + b"a" * 200_000,
)  # fmt: skip
BAD_FIELDS = (
    "Folded: a\r\n b\r\n", "Folded: a\r\n\tb\r\n", "Space : a\r\n", " Leading: a\r\n", "NoColon\r\n", ": no name\r\n",
    "N\0ul: a\r\n", "Nul: a\0b\r\n", "Bell: \x07\r\n", "Cr: a\rb\r\n", "Na(me: a\r\n", "N\xe4me: a\r\n", "Na me: a\r\n",
    "Del: a\x7fb\r\n",
)  # fmt: skip
BAD_LENGTHS = ("-1", "+5", "0x5", "5 5", "5, 6", "1e3", "five", "18446744073709551616", "9" * 40, "5.0", "\u0665")
BAD_CODINGS = (
    "xchunked",
    "chunked, identity",
    "identity",
    "chunked, chunked",
    "\x0bchunked",
    "gzip",
    "chunked;q=1",
    "",
)
BAD_CHUNKS = (
    b"FFFFFFFFFFFFFFFFF\r\n", b"-5\r\nhello\r\n", b"0x5\r\nhello\r\n", b"five\r\n", b"5\r\nhelloWORLD\r\n",
    b"\r\n5\r\nhello\r\n",
    b" 5\r\nhello\r\n", b"5\rhello", b"5\0\r\nhello\r\n", b"99999999999999999999\r\n",
)  # fmt: skip


def request_line(rng: random.Random) -> Attack:
    line = rng.choice(REQUEST_LINES)
    rest = rng.choice((b"\r\n\r\n", b"\r\nHost: localhost\r\n\r\n"))
    return Attack("a bad request line", line + rest, refused=True)


def noise(rng: random.Random) -> Attack:
    return Attack("noise", _bytes(rng, 400) + rng.choice((b"", b"\r\n\r\n")), refused=True)


def two_hosts(rng: random.Random) -> Attack:
    fields = f"Host: {rng.choice(('localhost', 'evil.example', '127.0.0.1'))}\r\n"
    return Attack("two hosts", f"{CALL}{fields}Content-Length: 2\r\n\r\n{{}}".encode(), refused=True)


def old_request(rng: random.Random) -> Attack:
    """HTTP/0.9 has none; a server may answer it. So it may a version that it doesn't speak, with its own."""
    return Attack(
        "a request without a version", b"GET /" + rng.choice((b"\r\n\r\n", b"\r\nHost: localhost\r\n\r\n", b"\r\n"))
    )


def bad_field(rng: random.Random) -> Attack:
    field = rng.choice(BAD_FIELDS)
    return Attack("a bad header field", f"{rng.choice((GET, CALL))}{field}\r\n".encode("latin-1"), refused=True)


def bare_ends(rng: random.Random) -> Attack:
    """A recipient MAY take a bare LF for an end of line (RFC 9112, 2.2), and must not take a bare CR for one."""
    head = (GET + "X: y\r\n\r\n").replace("\r\n", "\n", rng.randrange(1, 5))
    if rng.random() < 0.5:
        return Attack("a bare CR", (GET + "X: y\rY: z\r\n\r\n").encode(), refused=True)
    return Attack("a bare LF", head.encode())


def smuggling(rng: random.Random) -> Attack:
    """Two ways to say how long the body is: what is behind the one and in the other must not be served."""
    fields = rng.choice(
        (
            f"Content-Length: {len(SMUGGLED) + 5}\r\nTransfer-Encoding: chunked\r\n",
            f"Transfer-Encoding: chunked\r\nContent-Length: {len(SMUGGLED) + 5}\r\n",
            f"Content-Length: 5\r\nContent-Length: {len(SMUGGLED) + 5}\r\n",
            f"Content-Length: 5, {len(SMUGGLED)}\r\n",
            f"Content-Length: 0\r\nTransfer-Encoding: {rng.choice(BAD_CODINGS[:-1])}\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        )
    )
    return Attack("smuggling", f"{CALL}{fields}\r\n0\r\n\r\n{SMUGGLED}".encode(), refused=True)


def bad_length(rng: random.Random) -> Attack:
    return Attack(
        "a bad Content-Length", f"{CALL}Content-Length: {rng.choice(BAD_LENGTHS)}\r\n\r\nhello".encode(), refused=True
    )


def bad_coding(rng: random.Random) -> Attack:
    head = CALL if rng.random() < 0.7 else CALL.replace("1.1", "1.0")
    return Attack(
        "a bad Transfer-Encoding",
        f"{head}Transfer-Encoding: {rng.choice(BAD_CODINGS)}\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode(),
        refused=True,
    )


def bad_chunks(rng: random.Random) -> Attack:
    chunks = b"5\r\nhello\r\n" * rng.randrange(3) + rng.choice(BAD_CHUNKS) + b"0\r\n\r\n"
    return Attack("bad chunks", f"{CALL}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks, refused=True)


def body_cut(rng: random.Random) -> Attack:
    """A request that does not end."""
    kind = rng.randrange(4)
    if kind == 0:
        return Attack(
            "a body that does not come", f"{CALL}Content-Length: 100\r\n\r\n".encode() + _bytes(rng, 99), refused=True
        )
    if kind == 1:
        size = rng.choice((5, 2**31, 2**62))
        head = f"{CALL}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n"
        return Attack("a chunk that does not come", head.encode() + _bytes(rng, 5), refused=True)
    if kind == 2:
        head = f"{GET}Content-Length: {rng.choice((1000, 10**9))}\r\n\r\n"
        return Attack("a body where none is read", head.encode() + _bytes(rng, 99), then=_bytes(rng, 2000))
    head = (GET + "X: y\r\n\r\n").encode()
    return Attack("a head that does not end", head[: rng.randrange(1, len(head) - 2)], refused=True)


def long_parts(rng: random.Random) -> Attack:
    match rng.randrange(4):
        case 0:
            return Attack("a long field", f"{GET}X: {'y' * 140_000}\r\n\r\n".encode(), refused=True)
        case 1:
            return Attack(
                "many fields",
                (GET + "X: y\r\n" * 30_000 + "\r\n").encode(),
                refused=True,
            )
        case 2:
            head = f"{CALL}Transfer-Encoding: chunked\r\n\r\n2;x={'y' * 200_000}\r\n"
            return Attack("a long chunk extension", head.encode() + b"{}\r\n0\r\n\r\n", refused=True)
        case _:
            head = f"{CALL}Transfer-Encoding: chunked\r\n\r\n2\r\n" + "{}\r\n0\r\n" + "X: y\r\n" * 40_000 + "\r\n"
            return Attack("many trailers", head.encode(), refused=True)


def pipelined(rng: random.Random) -> Attack:
    """A good request, and something behind it."""
    behind = rng.choice((noise, request_line, bad_field, smuggling, bad_chunks))(rng)
    return Attack(f"pipelined: {behind.kind}", (GET + "\r\n").encode() * rng.randrange(1, 4) + behind.data)


# WebSocket handshakes


def _head(fields: list[tuple[str, str]], line: str = "GET /ws HTTP/1.1") -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields), "", ""]).encode("latin-1")


def _without(name: str, *instead: str) -> list[tuple[str, str]]:
    return [field for field in UPGRADE if field[0] != name] + [(name, value) for value in instead]


BAD_KEYS = (
    "",
    "x",
    base64.b64encode(b"x" * 15).decode(),
    base64.b64encode(b"x" * 17).decode(),
    KEY[:-2],
    "\xe4" * 24,
    "=" * 24,
)
BAD_VERSIONS = ("12", "8", "0", "", "13, 8", "013", "1e1", "-13", "\xb9\xb3")


def bad_handshake(rng: random.Random) -> Attack:
    name = rng.choice(("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Host", "Origin", "line"))
    match name:
        case "Upgrade":
            fields = _without(
                name, *rng.choice(((), ("websockets",), ("h2c",), ("websocket, h2c",), ("websocket", "h2c")))
            )
        case "Connection":
            fields = _without(name, *rng.choice(((), ("keep-alive",), ("close",), ("upgrad",))))
        case "Sec-WebSocket-Version":
            fields = _without(name, *rng.choice(((), ("13", "13"), *((v,) for v in BAD_VERSIONS))))
        case "Sec-WebSocket-Key":
            fields = _without(name, *rng.choice(((), (KEY, KEY), *((k,) for k in BAD_KEYS))))
        case "Host":
            fields = _without(
                name, *rng.choice(((), ("localhost", "localhost"), ("evil.example",), ("\xe4",), ("[::1",)))
            )
        case "Origin":
            fields = [
                *UPGRADE,
                *(
                    (name, o)
                    for o in rng.choice((("http://evil.example",), ("null",), ("http://localhost", "http://x")))
                ),
            ]
        case _:
            lines = (
                "POST /ws HTTP/1.1",
                "GET /ws HTTP/1.0",
                "GET /wss HTTP/1.1",
                "HEAD /ws HTTP/1.1",
                "GET /ws/ HTTP/1.1",
            )
            return Attack("a bad handshake: line", _head(list(UPGRADE), rng.choice(lines)), refused=True)
    rng.shuffle(fields)
    return Attack(f"a bad handshake: {name}", _head(fields), refused=True)


def odd_handshake(rng: random.Random) -> Attack:
    """What two parsers in a row may see differently."""
    fields = list(UPGRADE)
    data = b""
    line = "GET /ws HTTP/1.1"
    kind = rng.choice(
        (
            "many fields",
            "a long field",
            "a body",
            "chunks",
            "odd path",
            "odd value",
            "subprotocols",
            "extensions",
            "eager",
        )
    )
    match kind:
        case "many fields":
            fields += [(f"X-{n}", "y") for n in range(rng.choice((100, 122, 123, 124, 130, 500)))]
        case "a long field":
            fields.append(("X", "y" * rng.choice((8000, 8180, 8190, 8200, 9000, 60_000))))
        case "a body":
            fields.append(("Content-Length", rng.choice(("5", "100", "1000000"))))
            data = rng.choice((b"", b"hello"))
        case "chunks":
            fields.append(("Transfer-Encoding", "chunked"))
            data = rng.choice((b"", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n"))
        case "odd path":
            odd = (
                "/ws\xff",
                "/ws%ff",
                "/ws?\xff",
                "/ws#\xe4",
                "/ws%00",
                "//ws",
                "*",
                "http://localhost/ws",
                "/ws?" + "q" * 9000,
            )
            line = f"GET {rng.choice(odd)} HTTP/1.1"
        case "odd value":
            fields.append(("X", rng.choice(("", "\xff", "\t", "a\tb", "\x80" * 100, '"', "a" + " " * 100))))
        case "subprotocols":
            odd = (
                "",
                ",",
                "x",
                "\xff",
                "agent-ws.v1.json,,",
                "x" * 5000,
                "agent-ws.v1.json agent-ws.v1.msgpack",
                ", " * 500,
                "a=b;c",
            )
            fields.append(("Sec-WebSocket-Protocol", rng.choice(odd)))
        case "extensions":
            deflate = "permessage-deflate"
            odd = (
                deflate,
                f"{deflate}; client_max_window_bits=99",
                f"{deflate}; x=y",
                ";",
                ",",
                "x" * 5000,
                f"{deflate}, " * 300,
                '"',
                "\xff",
            )
            fields.append(("Sec-WebSocket-Extensions", rng.choice(odd)))
        case _:
            data = frame(rng, 1, b'{"type":"hello"}') + _bytes(rng, 50)
    rng.shuffle(fields)
    return Attack(f"an odd handshake: {kind}", _head(fields, line) + data)


# WebSocket frames


def frame(
    rng: random.Random,
    opcode: int,
    payload: bytes,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    width: int = 0,
) -> bytes:
    """A frame. width: of its length, 7, 16 or 64 bits; 0: the least that does."""
    size = len(payload)
    width = width or (7 if size < 126 else 16 if size < 65_536 else 64)
    flag = 0x80 if masked else 0
    length = {7: bytes([flag | size & 0x7F]), 16: bytes([flag | 126]) + struct.pack("!H", size & 0xFFFF)}.get(
        width, bytes([flag | 127]) + struct.pack("!Q", size)
    )
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode]) + length
    if not masked:
        return head + payload
    mask = rng.choice((bytes(4), rng.randbytes(4)))
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


TEXTS = (b'{"type":"ping","data":"1"}', b'{"message":"hi"}', b"{}", b"", b"[" * 500, b"x" * 300)
PROTOCOL = frozenset({1002})
DATA = frozenset({1007})
BIG = frozenset({1009})
EITHER = frozenset({1002, 1009})
BAD_UTF8 = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xfe")


def _text(rng: random.Random) -> bytes:
    return rng.choice(TEXTS)


def _framed(
    kind: str, codes: frozenset[int] = frozenset(), *, stays: bool = False
) -> Callable[[Callable[[random.Random], bytes]], Callable[[random.Random], Attack]]:
    """Around what makes the bytes: behind a good handshake, with good frames before and anything after it."""

    def wrap(make: Callable[[random.Random], bytes]) -> Callable[[random.Random], Attack]:
        def attack(rng: random.Random) -> Attack:
            start: Start = rng.choice(("hello", "hello", "handshake"))
            before = b"".join(frame(rng, rng.choice((9, 10)), b"x") for _ in range(rng.choice((0, 0, 1, 3))))
            after = rng.choice((b"", b"", frame(rng, 1, TEXTS[0]), _bytes(rng, 100) if codes == PROTOCOL else b""))
            # On a busy machine the time for the first frame may be over before any of it is there.
            ends = codes | {4408} if codes and start == "handshake" else codes
            return Attack(kind, before + make(rng) + after, start=start, codes=ends, stays=stays)

        return attack

    return wrap


@_framed("a reserved bit", PROTOCOL)
def reserved_bit(rng: random.Random) -> bytes:
    return frame(rng, rng.choice((1, 2, 8, 9, 10)), _text(rng)[:100], rsv=rng.randrange(1, 8))


@_framed("a reserved opcode", PROTOCOL)
def reserved_opcode(rng: random.Random) -> bytes:
    return frame(rng, rng.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), _text(rng))


@_framed("not masked", PROTOCOL)
def unmasked(rng: random.Random) -> bytes:
    return frame(rng, rng.choice((1, 2, 8, 9, 10)), _text(rng)[:100], masked=False)


@_framed("a control frame in fragments", PROTOCOL)
def control_fragment(rng: random.Random) -> bytes:
    return frame(rng, rng.choice((8, 9, 10)), b"", fin=False)


@_framed("a control frame too long", PROTOCOL)
def control_long(rng: random.Random) -> bytes:
    return frame(rng, rng.choice((8, 9, 10)), b"x" * rng.choice((126, 127, 1000, 65_535)))


@_framed("a continuation of nothing", PROTOCOL)
def continuation(rng: random.Random) -> bytes:
    return frame(rng, 0, _text(rng), fin=rng.random() < 0.5)


@_framed("a message inside a message", PROTOCOL)
def interleaved(rng: random.Random) -> bytes:
    return frame(rng, 1, b"{", fin=False) + frame(rng, rng.choice((1, 2)), b"}")


@_framed("a text that is not UTF-8", DATA)
def bad_utf8(rng: random.Random) -> bytes:
    """Cut into fragments anywhere, also inside a character."""
    data = "ü€😀".encode()[: rng.choice((0, 2, 5, 9))] + rng.choice(BAD_UTF8)
    pieces = [data]
    if rng.random() < 0.7:
        at = rng.randrange(len(data) + 1)
        pieces = [data[:at], data[at:]]
    return b"".join(frame(rng, 0 if n else 1, piece, fin=n == len(pieces) - 1) for n, piece in enumerate(pieces))


@_framed("a close that is none", frozenset({1002, 1007}))
def bad_close(rng: random.Random) -> bytes:
    code = rng.choice((0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535))
    return frame(
        rng, 8, rng.choice((b"\x03", struct.pack("!H", code) + b"why"[: rng.randrange(4)], b"\x03\xe8\xff\xfe"))
    )


@_framed("too big", EITHER)
def too_big(rng: random.Random) -> bytes:
    size = rng.choice((65_537, 2**20, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1))
    return bytes([0x81, 0xFF]) + struct.pack("!Q", size) + rng.randbytes(4) + b"x" * 100


@_framed("too big in fragments", BIG)
def too_big_in_fragments(rng: random.Random) -> bytes:
    return frame(rng, 2, bytes(40_000), fin=False) + frame(rng, 0, bytes(30_000), fin=rng.random() < 0.5)


@_framed("too many fragments", frozenset({1009, 4429, 1002}))  # what comes behind them may be read first
def too_many_fragments(rng: random.Random) -> bytes:
    return frame(rng, 1, b"", fin=False) + frame(rng, 0, b"", fin=False) * rng.choice((1100, 3000))


@_framed("a length longer than need be", stays=True)
def long_length(rng: random.Random) -> bytes:
    return frame(rng, rng.choice((1, 2)), TEXTS[0], width=rng.choice((16, 64)))


@_framed("frames that are no JSON", stays=True)
def bad_frames(rng: random.Random) -> bytes:
    return b"".join(
        frame(rng, rng.choice((1, 1, 2)), rng.choice((b"{", b"[]", b'{"type":1}', b"\0", b'{"type":"nothing"}')))
        for _ in range(rng.randrange(1, 13))
    )


@_framed("a frame that does not end", stays=True)
def truncated(rng: random.Random) -> bytes:
    whole = frame(rng, rng.choice((1, 2, 9)), b"x" * rng.choice((20, 120)))
    return whole[: rng.randrange(1, len(whole))]


def after_close(rng: random.Random) -> Attack:
    data = frame(rng, 8, rng.choice((b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0f\xa0"))) + rng.choice(
        (frame(rng, 1, TEXTS[1]), _bytes(rng, 500))
    )
    return Attack(
        "data after the close", data, start=rng.choice(("handshake", "hello")), codes=frozenset({1000, 1005, 4000})
    )


def mutated(rng: random.Random) -> Attack:
    """A good conversation, a little off."""
    frames = [
        b'{"type":"ping"}',
        b'{"message":"hello"}',
        '{"message":"ü€😀"}'.encode(),
        b'{"type":"interrupt"}',
        b'{"type":"pause"}',
    ]
    data = bytearray(
        b"".join(frame(rng, 1, rng.choice(frames)) for _ in range(rng.randrange(1, 6))) + frame(rng, 8, b"\x03\xe8")
    )
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2:
                del data[at : at + rng.randrange(1, 5)]
            case 3:
                data[at:at] = _bytes(rng, 5)
            case _:
                data = data[:at] + data[at : at + 20] + data[at:]
        data = data or bytearray(b"\0")
    return Attack("a mutated conversation", bytes(data), start=rng.choice(("handshake", "hello")), stays=True)


def mutated_http(rng: random.Random) -> Attack:
    data = bytearray(
        rng.choice(
            (_head(list(UPGRADE)), (CALL + "Content-Length: 2\r\n\r\n{}").encode(), (GET + "X: y\r\n\r\n").encode())
        )
    )
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randrange(1, 10)]
            case 2:
                data[at:at] = rng.choice((b"\0", b"\r", b"\n", b"\r\n", b" ", b":", b"\xff", b"chunked", b"0"))
            case _:
                data = data[:at] + data[at : at + 30] + data[at:]
        data = data or bytearray(b"\0")
    return Attack("a mutated request", bytes(data))


ATTACKS: tuple[Callable[[random.Random], Attack], ...] = (
    *(
        request_line,
        old_request,
        noise,
        two_hosts,
        bad_field,
        bare_ends,
        smuggling,
        bad_length,
        bad_coding,
        bad_chunks,
        body_cut,
        long_parts,
    ),
    *(pipelined, bad_handshake, bad_handshake, odd_handshake, odd_handshake, mutated_http, mutated_http),
    *(reserved_bit, reserved_opcode, unmasked, control_fragment, control_long, continuation, interleaved, bad_utf8),
    *(bad_close, too_big, too_big_in_fragments, too_many_fragments, long_length, bad_frames, truncated, after_close),
    *(mutated, mutated, mutated),
)


def attack(rng: random.Random) -> Attack:
    """One of them."""
    return rng.choice(ATTACKS)(rng)
