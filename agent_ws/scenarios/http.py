"""HTTP for scenarios: requests, and streams whose frames come like those of a WebSocket.

The one rule: it reads what the standards say (NDJSON; HTML, 9.2 "Server-sent events"), not what this server writes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from .client import Client, Frame
from .wire import Unreachable

KINDS = {"ndjson": "application/x-ndjson", "sse": "text/event-stream"}


class Answer(Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    text: str

    def known(self) -> Frame:
        """What `$name` stands for."""
        return {"status": self.status, "headers": self.headers, "text": self.text, "json": self.json()}

    def json(self) -> Any:
        """Its JSON; None where it has none."""
        try:
            return msgspec.json.decode(self.text)
        except msgspec.MsgspecError:
            return None


def opened(base: str) -> httpx2.AsyncClient:
    """Connections to a server; no cookie is kept, because each client of a scenario is a person of its own."""
    return httpx2.AsyncClient(base_url=base, timeout=httpx2.Timeout(60), trust_env=False)


async def ask(http: httpx2.AsyncClient, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
    """One request. Raises `Unreachable`."""
    content = body if isinstance(body, str | bytes) else None if body is None else msgspec.json.encode(body)
    try:
        answer = await http.request(method, path, content=content, headers=dict(headers))
    except httpx2.TransportError as error:
        raise Unreachable(f"expected an answer to {method} {path}, got {type(error).__name__}: {error}") from None
    http.cookies.clear()
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.text)


class Reading:
    """A stream that is read into a client, until its end or `stop`."""

    def __init__(self, http: httpx2.AsyncClient, client: Client, accept: str) -> None:
        self._http = http
        self._client = client
        self._accept = accept
        self._task: asyncio.Task[None] | None = None

    def start(self, method: str, path: str, body: Frame, headers: Mapping[str, str]) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(method, path, body, dict(headers)), name=f"stream {path}")

    async def stop(self) -> None:
        """Leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, method: str, path: str, body: Frame, headers: dict[str, str]) -> None:
        how: dict[str, Any] = {"params": body} if method == "GET" else {"content": msgspec.json.encode(body)}
        headers = {"accept": KINDS[self._accept]} | headers
        try:
            async with self._http.stream(method, path, headers=headers, **how) as answer:
                self._http.cookies.clear()
                self._client.headers = {name.lower(): value for name, value in answer.headers.items()}
                if answer.status_code != HTTPStatus.OK:
                    await answer.aread()
                    self._client.over(_refusal(answer.status_code, answer.text))
                    return
                read = _ndjson if self._accept == "ndjson" else self._sse
                await read(_lines(answer.aiter_bytes()), self._client.take)
            self._client.over({"type": "closed", "code": 1000, "reason": ""})
        except httpx2.TransportError as error:
            self._client.over({"type": "closed", "code": 1006, "reason": type(error).__name__})

    async def _sse(self, lines: AsyncIterator[str], take: Callable[[Any], None]) -> None:
        event, data = "", list[str]()
        async for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if not line:
                    if data:
                        take(_frame(event, "\n".join(data)))
                    event, data = "", []
                case "event":
                    event = value
                case "data":
                    data.append(value)
                case "id":
                    self._client.last_id = value
                case _:
                    pass


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The lines: httpx2 would cut them at U+2028 too, which JSON may hold."""
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode()


async def _ndjson(lines: AsyncIterator[str], take: Callable[[Any], None]) -> None:
    async for line in lines:
        if line:
            frame = msgspec.json.decode(line)
            if frame != {"type": "pong"}:  # a sign of life
                take(frame)


def _frame(event: str, data: str) -> Any:
    """An event of a stream as the frame that it prints: text is unnamed and has `content`."""
    if event == "end":
        return {"type": "end"}
    frame: Frame = msgspec.json.decode(data)
    if event in ("", "message") and "content" in frame:
        return {"type": "content", "data": frame.pop("content")} | frame
    return frame


def _refusal(status: int, text: str) -> Frame:
    try:
        body = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        body = None
    return {"type": "http", "status": status} | (body if isinstance(body, dict) else {"text": text})
