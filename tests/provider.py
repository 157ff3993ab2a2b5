"""A provider on this machine: the Anthropic streaming wire over real HTTP, played from a script. `chat.py` has another.

The one rule: it is as strict as the real one, or stricter. A request that breaks a rule is refused with 400, and the
test that caused it fails when it leaves `async with Provider()`. It is written on bare transports so that it sees the
client's disconnect when the bytes tell it, not when some framework does.

    async with Provider() as provider:
        provider.script(*answer("Hello", " world"))          # one call for each request, in order
        provider.script(*opening(), *text("Hel"), HANG)      # says a little, then nothing
        provider.script(Refuse(429, "rate_limit_error", {"retry-after": "7"}))
        ...                                                  # ask the agent, with base_url=provider.url
        await provider.requests[1].disconnected.wait()
"""

import asyncio
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, cast

from msgspec import Struct


class Refuse(Struct, frozen=True):
    """An HTTP error instead of a stream."""

    status: int
    type: str
    headers: dict[str, str] = {}
    message: str = "No."


class Whole(Struct, frozen=True):
    """One JSON object instead of a stream."""

    body: dict[str, Any]


class Cut(Struct, frozen=True):
    """Drop the connection: in order (FIN), or as a crash does (RST)."""

    reset: bool = False


class End(Struct, frozen=True):
    """End the HTTP response properly, wherever the message is."""


class Hang(Struct, frozen=True):
    """Say nothing more, for ever."""


HANG = Hang()

Event: TypeAlias = dict[str, Any]
Step: TypeAlias = Event | bytes | asyncio.Event | Refuse | Whole | Cut | End | Hang
"""An event to send, raw bytes of the stream, a gate to wait for, a whole response, or a fault. The response's head goes
out with what is sent first: so a `HANG` before it is silence before the headers."""


# Scripts


def opening(input_tokens: int = 12, output_tokens: int = 1, **usage: int) -> list[Step]:
    """The beginning of every message, and the ping that follows."""
    counted = {"input_tokens": input_tokens, "output_tokens": output_tokens} | usage
    message: Event = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": counted,
    }
    return [
        {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None}},
        {"type": "ping"},
    ]


def text(*pieces: str, index: int = 0) -> list[Step]:
    """One block of text, a token for each piece."""
    return _block(index, {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces])


def thinking(*pieces: str, index: int = 0) -> list[Step]:
    """One block of thinking, with its signature."""
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    deltas.append({"type": "signature_delta", "signature": signature("".join(pieces))})
    return _block(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)


def signature(thought: str) -> str:
    """What proves that the model thought so: a thought that comes back changed has another."""
    return hashlib.sha256(thought.encode()).hexdigest()


def calling(name: str, *pieces: str, index: int = 0, id: str | None = None) -> list[Step]:
    """One block that calls a tool, its input in pieces of JSON."""
    start: Event = {"type": "tool_use", "id": id or f"toolu_{name}_{index}", "name": name, "input": {}}
    return _block(index, start, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces])


def whole(*blocks: Event, stop_reason: str = "end_turn") -> Whole:
    """A message that is not streamed."""
    (start, _) = opening()
    assert isinstance(start, dict)
    return Whole(start["message"] | {"content": [*blocks], "stop_reason": stop_reason})


def closing(stop_reason: str = "end_turn", output_tokens: int = 40, **usage: int) -> list[Step]:
    """The end of a message."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens} | usage},
        {"type": "message_stop"},
    ]


def packet(events: Iterable[Step]) -> bytes:
    """Events as they arrive together."""
    return b"".join(encoded(event) for event in events if isinstance(event, dict))


def encoded(event: Event) -> bytes:
    """An event as the stream has it."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def answer(*pieces: str) -> list[Step]:
    """A whole message."""
    return [*opening(), *text(*pieces), *closing()]


def _block(index: int, start: Event, deltas: Iterable[Event]) -> list[Step]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


# The rules of the API, as far as a client can break them


BODY = {"model", "max_tokens", "messages", "stream", "system", "thinking", "tools", "tool_choice"}
NAME = "[a-zA-Z0-9_-]{1,64}"
FIELDS = {
    "text": {"text"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id", "content", "is_error"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "server_tool_use": {"id", "name", "input"},
}
"""What each kind of block has, beside its type."""
BREAKPOINTS = 4
"""Marks for the cache that a request may have."""


def broken_rule(body: Mapping[str, Any]) -> str | None:
    """Which rule a request body breaks, in words; None: it is fine."""
    if unknown := body.keys() - BODY:
        return f"{sorted(unknown)}: not a parameter"
    if not isinstance(body.get("model"), str) or body.get("stream") not in (True, False):
        return "model: required, with stream"
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        return "max_tokens: at least 1"
    tools: list[Event] = body.get("tools", [])
    names = {tool.get("name", "") for tool in tools}
    if broken := _broken_in_tools(tools) or (body.get("tool_choice") and not tools and "tool_choice: without tools"):
        return broken
    system: str | list[Event] = body.get("system", [])
    for block in [{"type": "text", "text": system}] if isinstance(system, str) else system:
        if broken := _broken_in_block(block, "user", names, set()):
            return f"system: {broken}"
    messages: list[Event] = body.get("messages", [])
    if not messages:
        return "messages: at least one"
    content: list[Event] = [block for message in messages for block in message.get("content", ())]
    if (marks := sum("cache_control" in block for block in (*tools, *system, *content))) > BREAKPOINTS:
        return f"cache_control: at most {BREAKPOINTS}, got {marks}"
    return _broken_in_messages(messages, names) or _broken_in_thinking(body.get("thinking", {}), body, messages)


def _broken_in_tools(tools: list[Event]) -> str | None:
    for tool in tools:
        known = {"name", "description", "input_schema", "eager_input_streaming", "cache_control"}
        if unknown := tool.keys() - known:
            return f"tools: {sorted(unknown)}: not a field"
        schema = tool.get("input_schema")
        if not re.fullmatch(NAME, tool.get("name", "")) or not isinstance(schema, dict) or "type" not in schema:
            return "tools: each has a name of letters, digits, _ and -, and a schema"
        if not isinstance(tool.get("eager_input_streaming", False), bool) or not isinstance(tool["description"], str):
            return "tools: a field is of the wrong type"
    if len({tool["name"] for tool in tools}) < len(tools):
        return "tools: names must be unique"
    return None


def _broken_in_messages(messages: list[Event], tools: set[str]) -> str | None:
    seen: set[str] = set()
    open_calls: list[str] = []
    for i, message in enumerate(messages):
        role = "user" if i % 2 == 0 else "assistant"
        if message.keys() != {"role", "content"} or message["role"] != role:
            return f"messages.{i}: expected role {role} and content"
        content = message["content"]
        blocks: list[Event] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            return f"messages.{i}: no content"
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(results) != sorted(open_calls):
            return f"messages.{i}: expected results of {open_calls}, got {results}"
        if any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            return f"messages.{i}: results come first"
        open_calls = []
        for block in blocks:
            if (broken := _broken_in_block(block, role, tools, seen)) is not None:
                return f"messages.{i}: {broken}"
            if block["type"] == "tool_use":
                seen.add(block["id"])
                open_calls.append(block["id"])
    last = messages[-1]
    if last["role"] != "user" and last["content"][-1]["type"] != "server_tool_use":
        return "messages: the last is the user's, unless the model has paused"
    return None


def _broken_in_block(block: Event, role: str, tools: set[str], seen: set[str]) -> str | None:
    fields = FIELDS.get(block.get("type", ""), set[str]()) | {"type", "cache_control"}
    if unknown := block.keys() - fields:
        return f"{block.get('type')}: {sorted(unknown)}: not a field"
    if "cache_control" in block and (block["cache_control"] != {"type": "ephemeral"} or "thinking" in block["type"]):
        return "cache_control: not so, or not here"
    match block:
        case {"type": "text", "text": str(said)}:
            return None if said.strip() else "text: blank"
        case {"type": "tool_use", "id": str(call), "name": str(name), "input": dict()} if role == "assistant":
            if call in seen or not re.fullmatch("[a-zA-Z0-9_-]+", call):
                return "tool_use: ids are unique, of letters, digits, _ and -"
            if name not in tools or not re.fullmatch(NAME, name):
                return "tool_use: the tool must be declared in tools"
            return None
        case {"type": "tool_result", "content": str(output)} if role == "user":
            return None if output.strip() else "tool_result: blank"
        case {"type": "thinking", "thinking": str(thought), "signature": str(sign)} if role == "assistant":
            return None if sign == signature(thought) else "thinking: changed, the signature is another's"
        case {"type": "redacted_thinking" | "server_tool_use"} if role == "assistant":
            return None
        case _:
            return f"a {block.get('type')} block does not belong here"


def _broken_in_thinking(thinking: Mapping[str, Any], body: Mapping[str, Any], messages: list[Event]) -> str | None:
    if thinking.get("type") != "enabled":
        return None
    if not 1024 <= thinking.get("budget_tokens", 0) < body["max_tokens"]:
        return "thinking: budget_tokens of at least 1024, less than max_tokens"
    said: list[list[Event]] = [message["content"] for message in messages if message["role"] == "assistant"]
    last = said[-1] if said else []
    if any(block["type"] == "tool_use" for block in last) and "thinking" not in last[0]["type"]:
        return "thinking: the last step that called tools must begin with it"
    return None


# The server


class Request:
    """One HTTP request, and what became of its response."""

    def __init__(self, headers: dict[str, str], body: Event) -> None:
        self.headers = headers
        self.body = body
        self.sent = 0
        """Events of the script that were written."""
        self.finished = False
        """The whole response was written."""
        self.disconnected = asyncio.Event()
        """The client closed the connection before the response was finished."""


class Provider:
    """The server. An async context manager; `requests` has what came, in order."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.broken: list[str] = []
        """Rules that requests broke. A test that means to break one clears it."""
        self.accepted = 0
        """TCP connections so far."""
        self.url = ""
        self.otherwise: Sequence[Step] = answer("ok")
        """What a request is answered with for which there is no script."""
        self.pace = 1
        """Steps of the event loop before each event, so that each leaves in a packet of its own."""
        self._scripts: deque[tuple[Step, ...]] = deque()
        self._connections: set[_Connection] = set()
        self._changed = asyncio.Event()

    # The wire, which a subclass says anew for another one

    path = "/v1/messages"

    def refused(self, headers: Mapping[str, str], body: Event) -> Refuse | None:
        """How a request that breaks a rule is answered."""
        if not (headers.get("authorization") or headers.get("x-api-key")) or "anthropic-version" not in headers:
            return Refuse(401, "authentication_error")
        if (broken := broken_rule(body)) is not None:
            self.broken.append(broken)
            return Refuse(400, "invalid_request_error", message=broken)
        return None

    def encoded(self, event: Event) -> bytes:
        """An event as the stream has it."""
        return encoded(event)

    def error(self, step: Refuse) -> Event:
        """The body of a refusal."""
        return {"type": "error", "error": {"type": step.type, "message": step.message}}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self.until(lambda: not self._connections)
        await self._server.wait_closed()
        if error is None:
            assert not self.broken, f"requests broke rules of the API: {self.broken}"

    @property
    def open(self) -> int:
        """TCP connections now."""
        return len(self._connections)

    @property
    def busy(self) -> int:
        """Responses that are not over, and whose client is there."""
        return sum(connection.busy for connection in self._connections)

    def script(self, *steps: Step) -> None:
        """What the next request without a script of its own is answered with."""
        self._scripts.append(steps)

    def forget(self) -> None:
        """Forget the scripts that were not played."""
        self._scripts.clear()

    async def disconnected(self) -> None:
        """Return when every request whose response is not finished has lost its client. Fails after 5 s.

        Whatever clients had sent before the call counts, also what is still in the kernel's buffers.
        """
        # Connections are accepted, and sockets read, in order: behind a request of our own comes nothing older.
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.rpartition(":")[2]))
        writer.write(b"GET /probe HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        await self.until(lambda: not any(connection.busy for connection in self._connections))

    async def until(self, true: Callable[[], bool]) -> None:
        """Return when `true()` holds, asked again whenever a connection changes. Fails after 5 s."""
        async with asyncio.timeout(5):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    # For `_Connection`

    def opened(self, connection: "_Connection") -> None:
        """A client connected."""
        self.accepted += 1
        self._connections.add(connection)

    def closed(self, connection: "_Connection") -> None:
        """A connection is gone, and its player too."""
        self._connections.discard(connection)
        self._changed.set()

    def take(self, headers: dict[str, str], body: Event) -> tuple[Request, Sequence[Step]]:
        """A request came: what to play for it."""
        request = Request(headers, body)
        self.requests.append(request)
        self._changed.set()
        if (refusal := self.refused(headers, body)) is not None:
            return request, [refusal]
        return request, self._scripts.popleft() if self._scripts else self.otherwise

    def changed(self) -> None:
        """Something moved: wake who waits."""
        self._changed.set()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._request: Request | None = None
        self._player: asyncio.Task[None] | None = None
        self._lost = False
        self._transport: asyncio.Transport

    @property
    def busy(self) -> bool:
        """Bytes of a request came, and its response is not finished."""
        return bool(self._buffer) or self._request is not None

    def abort(self) -> None:
        """Drop it (RST where data is under way)."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._provider.opened(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._request is None:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._buffer = b""
        self._lost = True
        if self._request is not None:
            self._request.disconnected.set()
            self._request = None
        if self._player is None:
            self._provider.closed(self)
        else:
            self._player.cancel()

    def _next(self) -> None:
        """Take a request from the buffer, if there is a whole one."""
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        if first.startswith("GET /probe"):
            self._transport.close()
            return
        assert first == f"POST {self._provider.path} HTTP/1.1", first
        self._request, steps = self._provider.take(headers, json.loads(rest[:length]))
        self._player = asyncio.get_running_loop().create_task(self._play(self._request, steps), name="provider")
        self._player.add_done_callback(self._played)

    def _played(self, player: asyncio.Task[None]) -> None:
        self._player = None
        if self._lost:
            self._provider.closed(self)
        elif self._buffer:
            self._next()
        self._provider.changed()
        if not player.cancelled():
            player.result()

    async def _play(self, request: Request, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case asyncio.Event():
                    await step.wait()
                case Hang():
                    await asyncio.Event().wait()
                case Cut(reset=reset):
                    self._request = None  # what follows is not the client's doing
                    if reset:
                        self._transport.abort()
                    else:
                        self._transport.close()
                    return
                case Refuse():
                    self._answer(step.status, self._provider.error(step), step.headers)
                case Whole(body=body):
                    for _ in range(self._provider.pace):
                        await asyncio.sleep(0)
                    self._answer(200, body, {})
                case End():
                    break
                case bytes():
                    await self._send(request, step)
                case dict():
                    await self._send(request, self._provider.encoded(step))
        if request.sent:
            self._transport.write(b"0\r\n\r\n")
        request.finished = True
        self._request = None

    async def _send(self, request: Request, chunk: bytes) -> None:
        for _ in range(self._provider.pace):
            await asyncio.sleep(0)
        if not request.sent:
            self._transport.write(HEAD)
        self._transport.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        request.sent += 1
        self._provider.changed()

    def _answer(self, status: int, content: Event, more: Mapping[str, str]) -> None:
        body = json.dumps(content).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))} | dict(more)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._transport.write(f"HTTP/1.1 {status} As scripted\r\n{lines}\r\n".encode() + body)
