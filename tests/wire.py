"""The other end of a real socket, written after the standards and not after the server: HTTP/1.1 (RFC 9112),
server-sent events (HTML, 9.2) and raw WebSocket frames (RFC 6455).

The one rule: nothing here is imported from what it tests.
"""

import asyncio
import base64
import codecs
import json
import os
import socket
import struct
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

DEADLINE_S = 10.0
"""For anything that is expected to happen: never waited for when it does."""
STREAM = "/api/agent/stream"
NDJSON = {"accept": "application/x-ndjson"}

Fields = Sequence[tuple[str, str]] | Mapping[str, str]


def _pairs(fields: Fields) -> list[tuple[str, str]]:
    return list(fields.items()) if isinstance(fields, Mapping) else list(fields)


class Net:
    """The way to a server. `close()` cuts every connection that is left."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def dial(self, receive_buffer: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection. With a `receive_buffer` nothing is read that is not asked for, as by a client that is slow."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)  # noqa: FBT003 - it has no name
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**16 if receive_buffer is None else 512)
        self._writers.append(writer)
        return reader, writer

    def head(self, method: str, target: str, fields: Fields, length: int | None = None) -> bytes:
        """A request's head."""
        sent = _pairs(fields)
        if "host" not in {name.lower() for name, _ in sent}:
            sent.insert(0, ("host", f"localhost:{self.port}"))
        if length is not None:
            sent.append(("content-length", str(length)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def request(
        self, method: str, target: str, body: Any = None, fields: Fields = (), receive_buffer: int | None = None
    ) -> "Response":
        """Ask, and return when the response's head is there. `body` that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        reader, writer = await self.dial(receive_buffer)
        writer.write(self.head(method, target, fields, None if body is None else len(data)) + data)
        response = Response(reader, writer)
        await response.head()
        return response

    async def get(self, target: str, fields: Fields = ()) -> "Response":
        return await self.request("GET", target, fields=fields)

    async def post(self, target: str, body: Any, fields: Fields = ()) -> "Response":
        return await self.request("POST", target, body, fields)

    async def shake_hands(
        self, fields: Fields = (), receive_buffer: int | None = None, path: str = "/ws"
    ) -> tuple["RawWebSocket", "Response"]:
        """A WebSocket handshake. The response has the status; the socket is of use where that is 101."""
        reader, writer = await self.dial(receive_buffer)
        upgrade = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", base64.b64encode(os.urandom(16)).decode()),
        ]
        writer.write(self.head("GET", path, [*_pairs(fields), *upgrade]))
        response = Response(reader, writer)
        await response.head()
        return RawWebSocket(reader, writer), response

    async def websocket(self, fields: Fields = (), receive_buffer: int | None = None) -> "RawWebSocket":
        """An open WebSocket."""
        opened, response = await self.shake_hands(fields, receive_buffer)
        assert response.status == 101
        return opened

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class Response:
    """An HTTP response in the making."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.fields: list[tuple[str, str]] = []

    async def head(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        self.status = int(status.split(" ")[1])
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str) -> str:
        """All its lines, "" where it has none."""
        return ", ".join(value for found, value in self.fields if found == name)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end. Raises `IncompleteReadError` where it was cut off."""
        async with asyncio.timeout(DEADLINE_S):
            size = int((await self._reader.readuntil(b"\r\n")).rstrip(), 16)
            data = await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        return data

    async def body(self) -> bytes:
        """The rest of it."""
        if self.header("transfer-encoding") != "chunked":
            async with asyncio.timeout(DEADLINE_S):
                return await self._reader.readexactly(int(self.header("content-length") or 0))
        parts: list[bytes] = []
        while part := await self.chunk():
            parts.append(part)
        return b"".join(parts)

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def lines(self) -> AsyncGenerator[Any]:
        """The body as NDJSON."""
        rest = b""
        while part := await self.chunk():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield json.loads(line)
        assert rest == b""

    def cut(self) -> None:
        """Be gone, as by a lost network."""
        self._writer.transport.abort()


class Message(NamedTuple):
    """An event as a page gets it."""

    type: str
    data: str
    id: str


class SseParser:
    """HTML, 9.2.6, "Interpreting an event stream", step by step."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._started = False
        self._after_cr = False
        self._type = ""
        self._data: list[str] = []
        self.last_id = ""
        self.comments = 0

    def feed(self, data: bytes) -> list[Message]:
        messages: list[Message] = []
        for char in self._decoder.decode(data):
            if not self._started:
                self._started = True
                if char == "\ufeff":
                    continue
            if char == "\n" and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = char == "\r"
            if char not in "\r\n":
                self._line += char
                continue
            line, self._line = self._line, ""
            if not line:
                messages += self._dispatch()
            else:
                self._field(line)
        return messages

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments += 1
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_id = value
            case _:
                pass

    def _dispatch(self) -> list[Message]:
        kind, data = self._type or "message", self._data
        self._type, self._data = "", []
        return [Message(kind, "\n".join(data), self.last_id)] if data else []


class EventSource:
    """A browser's `EventSource` with `onmessage = e => append(JSON.parse(e.data).content)`: the naive client."""

    def __init__(self, net: Net, target: str, fields: Fields = ()) -> None:
        self._net = net
        self._target = target
        self._fields = _pairs(fields)
        self._cookie = ""
        self._parser = SseParser()
        self._response: Response | None = None
        self._pending: list[Message] = []
        self.last_id = ""
        self.text = ""
        self.messages: list[Message] = []
        self.comments = 0
        self.gzip = False

    async def open(self) -> int:
        """Connect, or come back. The status; a browser gives up at any other than 200."""
        fields = [*self._fields, ("accept", "text/event-stream")]
        if self.last_id:
            fields.append(("last-event-id", self.last_id))
        if self._cookie:
            fields.append(("cookie", self._cookie))
        self._response = await self._net.get(self._target, fields)
        self._cookie = self._response.header("set-cookie").partition(";")[0] or self._cookie
        self.gzip = self._response.header("content-encoding") == "gzip"
        self._unpacker = zlib.decompressobj(wbits=31)
        self._parser = SseParser()
        self._parser.last_id = self.last_id
        self._pending = []
        return self._response.status

    async def next(self) -> Message | None:
        """The next event; None at the stream's end."""
        assert self._response is not None
        while not self._pending:
            chunk = await self._response.chunk()
            if not chunk:
                return None
            before = self._parser.comments
            self._pending = self._parse(chunk)
            self.comments += self._parser.comments - before
        return self._take(self._pending.pop(0))

    def _parse(self, data: bytes) -> list[Message]:
        return self._parser.feed(self._unpacker.decompress(data) if self.gzip else data)

    def _take(self, message: Message) -> Message:
        self.last_id = message.id
        self.messages.append(message)
        if message.type == "message":
            self.text += json.loads(message.data)["content"]
        return message

    async def until(self, kind: str) -> Message:
        """Read up to the first event of this type."""
        while message := await self.next():
            if message.type == kind:
                return message
        raise AssertionError(f"expected {kind!r}, got the end of the stream")

    async def bytes(self, count: int) -> bool:
        """Take `count` bytes of the stream and be cut off there. False: it has fewer."""
        assert self._response is not None
        taken = b""
        while len(taken) < count and (chunk := await self._response.chunk()):
            taken += chunk
        for message in self._parse(taken[:count]):
            self._take(message)
        self.cut()
        return len(taken) >= count

    async def end(self) -> None:
        """Read to the stream's end."""
        while await self.next():
            pass

    def cut(self) -> None:
        """Be gone, as by a lost network."""
        assert self._response is not None
        self._response.cut()


class RawWebSocket:
    """A WebSocket by hand: it can send what no library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes | str, opcode: int | None = None) -> None:
        """One frame, masked. `str` is sent as text, bytes as binary, if `opcode` doesn't say otherwise."""
        payload = data.encode() if isinstance(data, str) else data
        code = opcode if opcode is not None else 1 if isinstance(data, str) else 2
        if len(payload) < 126:
            length = bytes([0x80 | len(payload)])
        elif len(payload) < 2**16:
            length = b"\xfe" + struct.pack("!H", len(payload))
        else:
            length = b"\xff" + struct.pack("!Q", len(payload))
        mask = bytes(4)  # a mask of zeros is one
        self.writer.write(bytes([0x80 | code]) + length + mask + payload)

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: opcode, payload. Answers no ping. Raises `IncompleteReadError` at the end of the stream."""
        async with asyncio.timeout(DEADLINE_S):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def frame(self) -> dict[str, Any]:
        """The next text message, decoded."""
        opcode, payload = await self.receive()
        assert opcode == 1, (opcode, payload)
        return json.loads(payload)

    async def until(self, *types: str) -> dict[str, Any]:
        """The first frame of one of these types."""
        while True:
            frame = await self.frame()
            if frame["type"] in types:
                return frame

    async def close_code(self) -> int:
        """The code of the server's close, past everything before it."""
        while True:
            opcode, payload = await self.receive()
            if opcode == 8:
                return struct.unpack("!H", payload[:2])[0]

    def cut(self) -> None:
        """Be gone, as by a lost network."""
        self.writer.transport.abort()


async def eventually(true: Callable[[], bool]) -> None:
    """Let the loop run until something inside the server has become true."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - no event tells it to the outside
            await asyncio.sleep(0)
