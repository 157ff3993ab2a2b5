"""HTTP requests by chance, and the statuses that PROTOCOL.md has for them."""

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette
from starlette.types import Message

from agent_ws import Settings
from agent_ws.errors import CODES

from .expected import Live
from .frames_of_chance import ASKS, SECRET, STRINGS, Chance, Verdict, is_ask, is_query, judge
from .proof import Course, Disproved

LIST = "/api/agent/sessions"
ANY = frozenset({200, 204, 400, 404, 409, 413, 429})
"""All that a call may be answered with, where its meaning is not clear."""

TOO_FAST = frozenset({429})
NONE = frozenset[int]()


class Request:
    """One request, and its whole answer."""

    def __init__(self, method: str, path: str, query: bytes, headers: Mapping[str, bytes], body: list[bytes]) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = {"host": b"localhost"} | dict(headers)
        self.status = 0
        self.answer = b""
        self.type = ""
        self._body = body
        self._sent = 0

    async def send(self, app: Starlette) -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 50000),
            "root_path": "",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "headers": [(name.encode(), value) for name, value in self.headers.items()],
        }
        await app(scope, self._receive, self._take)

    async def _receive(self) -> Message:
        if self._sent < len(self._body):
            self._sent += 1
            part = self._body[self._sent - 1]
            return {"type": "http.request", "body": part, "more_body": self._sent < len(self._body)}
        await asyncio.Event().wait()  # it stays until the answer is whole
        raise AssertionError

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.type = dict(message["headers"]).get(b"content-type", b"").decode()
        else:
            self.answer += message.get("body", b"")

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{self.query!r:.200} {self.headers} {self._body!r:.300}"


class Requests:
    """Some requests side by side."""

    def __init__(
        self, course: Course, rng: random.Random, app: Starlette, settings: Settings, lives: list[Live]
    ) -> None:
        self._course = course
        self._rng = rng
        self._app = app
        self._limit = settings.limits.message_bytes
        self._in_time = settings.limits.frame_burst
        """Requests within the rate, and as many interrupts: no time passes here."""
        self._lives = lives

    async def play(self, count: int) -> None:
        drawn = [self._draw() for _ in range(count)]
        async with asyncio.TaskGroup() as group:
            for request, _ in drawn:
                group.create_task(request.send(self._app))
        for request, statuses in drawn:
            if self._course.alone:
                self._course.tell(f"{request} -> {request.status}")
            self._course.facts["requests"] += 1
            self._course.facts[f"HTTP {request.status}"] += 1
            check(request, statuses | (TOO_FAST if count > self._in_time else NONE))

    def _draw(self) -> tuple[Request, frozenset[int]]:
        rng = self._rng
        dice = rng.random()
        headers = self._headers()
        if dice < 0.05:
            path = rng.choice(
                ("/api", "/api/agent/stream/", "/healthz", "/readyz", "/ws", "//", "/é\0", "/" + "a" * 9_000)
            )
            return Request(rng.choice(("GET", "PUT", "HEAD")), path, b"", headers, [b""]), frozenset({200, 404, 405})
        if dice < 0.08:
            headers["host"] = rng.choice((b"evil.example", b"", b"localhost.evil.example", b"a b", b"[::1"))
            return Request("GET", "/api/agent/stream", b"", headers, [b""]), frozenset({403})
        if dice < 0.11:
            headers["origin"] = rng.choice((b"https://evil.example", b"null", b"", b"http://localhost.evil.example"))
            return Request("POST", "/api/agent/interrupt", b"", headers, [b"{}"]), frozenset({403})
        if dice < 0.15:
            return self._list(headers)
        if dice < 0.28:
            return self._get(headers)
        return self._post(headers)

    def _headers(self) -> dict[str, bytes]:
        rng, headers = self._rng, dict[str, bytes]()
        if rng.random() < 0.5:
            headers["accept"] = rng.choice((b"application/x-ndjson", b"*/*;q=x", b",,;;q=", b"text/html, */*", b"\xff"))
        if rng.random() < 0.1:
            headers["cookie"] = rng.choice((b"agent_ws_owner=" + b"a" * 22, b"agent_ws_owner=\xff", b"=;;=", b"a=b; c"))
        return headers

    def _post(self, headers: dict[str, bytes]) -> tuple[Request, frozenset[int]]:
        rng = self._rng
        name = rng.choice(tuple(ASKS))
        chance = self._chance()
        body: Any = chance.frame(ASKS[name])
        dice = rng.random()
        if dice > 0.5:
            body = chance.mutated(body, ASKS[name])
        message = chance.encode(body)
        if dice > 0.8:
            message = chance.broken(message)
        raw = message if isinstance(message, bytes) else message.encode()
        if rng.random() < 0.01:
            raw += b" " * self._limit
        cut = rng.randrange(len(raw) + 1)
        query = b"token=a" if rng.random() < 0.01 else b""
        request = Request("POST", f"/api/agent/{name}", query, headers, [raw[:cut], raw[cut:]])
        if query:
            return request, frozenset({400})
        if len(raw) > self._limit:
            return request, frozenset({413})
        verdict, ask = judge(raw, binary=False, check=lambda value: is_ask(value, ASKS[name]))
        self._course.facts[verdict] += 1
        return request, self._statuses(name, verdict, ask)

    def _get(self, headers: dict[str, bytes]) -> tuple[Request, frozenset[int]]:
        rng = self._rng
        chance = self._chance()
        fields = chance.frame(ASKS["stream"])
        fields.pop("token", None)
        texts = {name: str(value) for name, value in fields.items() if value is not None}
        if rng.random() < 0.5:
            texts[rng.choice((*ASKS["stream"]["properties"], "x"))] = rng.choice(STRINGS)
        texts = {name: text.encode(errors="ignore").decode() for name, text in texts.items()}
        query = urlencode(texts).encode()
        if rng.random() < 0.1:
            place = rng.choice((b"", b"a.b.c.d", b"a.b.1.", b"a.b.-1.", b"\xff", b"a.b.99999999999999999.", b"...."))
            headers["last-event-id"] = place
            texts, query = {}, b""
            statuses = frozenset({404 if place == b"a.b.1." else 400})
        elif rng.random() < 0.1:
            query += rng.choice((b"&&=&", b"&after=%ff", b"&message=%zz", b"\xff", b"&a=" + b"b" * 70_000))
            statuses = ANY
        else:
            verdict = is_query(texts)
            statuses = self._statuses("stream", verdict, dict(texts), post=False)
        method = rng.choice(("GET", "GET", "GET", "HEAD", "DELETE"))
        if {"token", "ticket"} & {*texts}:
            statuses = frozenset({400})
        elif method != "GET":
            statuses = frozenset({405})
        elif len(query) > self._limit:
            statuses = frozenset({413})
        return Request(method, "/api/agent/stream", query, headers, [b""]), statuses

    def _list(self, headers: dict[str, bytes]) -> tuple[Request, frozenset[int]]:
        """About the list of sessions. None that is in use is deleted."""
        rng = self._rng
        if rng.random() < 0.5:
            texts = {
                name: rng.choice(values)
                for name, values in {
                    "words": (*STRINGS, "a b c d e f g h i", "w" * 201),
                    "before": (*STRINGS, "1~a", "1.5~", "99999999999999999999.9~x", "nan~x", "1e9~x", "-1~x"),
                    "limit": (*STRINGS, "1", "100", "101", "0", "-1", "1e1", "٣"),
                }.items()
                if rng.random() < 0.5
            }
            query = urlencode({name: text.encode(errors="ignore").decode() for name, text in texts.items()}).encode()
            statuses = frozenset({200, 400} if texts else {200})
            return Request("GET", LIST, query, headers, [b""]), statuses | (ANY if len(query) > self._limit else NONE)
        method = rng.choice(("PATCH", "DELETE"))
        live = rng.choice(self._lives) if self._lives and method == "PATCH" and rng.random() < 0.5 else None
        body: dict[str, Any] = {
            "title": rng.choice((*STRINGS, "A title", 5, None)),
            "token": rng.choice(("k", 5, None)),
        }
        if live is not None:
            body["token"] = live.token
        name = live.session if live is not None else rng.choice(("nobody", "é", "a b", "a" * 5_000))
        raw = json.dumps(body).encode() if rng.random() < 0.8 else rng.choice((b"", b"{", b"[]", b"null", b"\xff"))
        return Request(method, f"{LIST}/{name}", b"", headers, [raw]), frozenset(
            {200, 400} if live is not None and raw.startswith(b'{"') else {400, 404}
        )

    def _chance(self) -> Chance:
        chance = Chance(self._rng, binary=False)
        if self._lives:
            live = self._lives[-1]
            chance.known = {"session": [live.session], "token": [live.token]}
            chance.known |= {"run": [live.run]} if live.run else {}
            chance.known |= {"request": [live.request]} if live.request else {}
        return chance

    def _statuses(self, name: str, verdict: Verdict, ask: Mapping[str, Any], *, post: bool = True) -> frozenset[int]:
        """What a call may be answered with. They cross each other, so what is open may be over."""
        if verdict != "valid":
            return frozenset({400}) if verdict == "bad" else ANY
        message, session = ask.get("message"), ask.get("session")
        if session is None and name != "stream":
            return frozenset({400})
        live = next((live for live in self._lives if live.session == session), None)
        if session is not None and (live is None or ask.get("token") != live.token):
            return frozenset({404})
        match name:
            case "interrupt":
                run = ask.get("run")
                return frozenset({200} if run is None or (live is not None and run == live.run) else {404})
            case "reply":
                return frozenset({200, 409} if live is not None and ask["request"] == live.request else {409})
            case _ if message is None:
                return frozenset({200 if post else 204} if session is None else {200, 204})
            case _:
                blank = not message.strip()
                again = ask.get("id") is not None and live is not None
                policy = ask.get("when_busy") or "queue"
                statuses = {400 if blank else 200}
                if live is not None and not blank and policy != "interrupt":
                    statuses.add(409 if policy == "reject" else 429)
                if again:
                    statuses |= {200, 400}
                return frozenset(statuses)


def check(request: Request, statuses: frozenset[int]) -> None:
    """The status is one of these, and the answer is whole."""
    if request.status not in statuses:
        raise Disproved(f"expected one of {set(statuses)}, got {request.status} {request.answer!r:.200} to {request}")
    if request.status == 200 and request.path == "/api/agent/stream":
        end = b'{"type":"end"}\n' if "ndjson" in request.type else b"data: [DONE]\n\n"
        if not request.answer.endswith(end):
            raise Disproved(f"expected a stream with its end, got {request.answer[-200:]!r} to {request}")
    if request.status >= 400 and request.method != "HEAD":
        error = msgspec.json.decode(request.answer)["error"]
        if CODES[error["code"]].status != request.status:
            raise Disproved(f"expected {error['code']} with its status, got {request.status} to {request}")
        if SECRET in error["message"]:
            raise Disproved(f"expected an answer that repeats nothing, got {error} to {request}")
