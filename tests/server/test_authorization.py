"""Whatever a stranger sends, with whatever credential and whosever ids: nothing of another owner's comes back or
changes, and the answer is the one that an unknown id gets.

The tables grow by themselves: the frames are those of `ClientFrame`, the ways in those of the application's routes, the
ids those of their fields. A route or a field that has no row fails.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, get_args
from urllib.parse import urlencode

import pytest
from helpers import Frame, Http, drained, got
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Route, WebSocketRoute

from agent_ws import Identity, Settings, Timeouts, Turn, build_app
from agent_ws.frames import ClientFrame
from agent_ws.server.http import InterruptAsk, ListAsk, RenameAsk, ReplyAsk, StreamAsk
from agent_ws.session import Session
from agent_ws.testing.client import Client, Closed, Refused, connect, running

pytestmark = pytest.mark.virtual

CANARY = "canary-of-the-victim"
JSON = "agent-ws.v1.json"
PAGE = "http://localhost"
LONG = Timeouts(run=1e6, silence=1e6, reply=1e6, orphan=1e6, tool=1e6, heartbeat=1e6, ticket=1e6)

IDS = ("session", "run", "continues", "id", "request", "section", "agent", "epoch", "token", "ticket")
"""The fields that name something of somebody's."""
PLAIN: dict[str, Any] = {
    "message": "mine",
    "data": "mine",
    "after": 0,
    "part": 0,
    "seen": 0,
    "reason": "x",
    "redo": True,
    "chunk": "word",
    "buffer_chars": 8,
    "buffer_ms": 100,
    "when_busy": "queue",
    "title": "mine",
    "words": CANARY,
    "before": "1.5~x",
    "limit": 100,
}
"""The fields that name nothing, with a value."""
FRAMES: dict[str, type[Struct]] = {str(kind.__struct_config__.tag): kind for kind in get_args(ClientFrame)}
OPEN: dict[str, type[Struct] | None] = {
    "/api/agent/stream": StreamAsk,
    "/api/agent/interrupt": InterruptAsk,
    "/api/agent/reply": ReplyAsk,
    "/api/agent/sessions": ListAsk,
    "/api/agent/sessions/{session}": RenameAsk,
    "/api/agent/ticket": None,
}
"""The routes that need a login, and what they are asked; None: nothing. To delete is asked as to rename is."""
OWN = {"/api/agent/sessions", "/api/agent/ticket"}
"""Those that are about nobody but who asks."""
PUBLIC = {"/", "/assets", "/healthz", "/readyz"}
"""The routes that tell everybody the same."""
WEBSOCKET = "/ws"


class Guests:
    """Who has which token: alice is the victim, and had others."""

    def __init__(self) -> None:
        self.known = {
            "alice-now": Identity("alice", id="now"),
            "alice-expired": Identity("alice", expires=1.0, id="expired"),
            "alice-ended": Identity("alice", id="ended"),
            "mallory": Identity("mallory", id="m"),
        }

    async def __call__(self, connection: HTTPConnection) -> Identity | None:
        return self.known.get(connection.headers.get("authorization", "").removeprefix("Bearer "))


CREDENTIALS: dict[str, str | None] = {
    "none": None,
    "expired": "alice-expired",
    "revoked": "alice-revoked",
    "wrong": "nobody",
    "another owner's": "mallory",
}


def bearing(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


async def agent(turn: Turn) -> None:
    """Opens everything that has an id, says its message in each, and waits for the user for ever."""

    async def child(turn: Turn) -> None:
        turn.content(f"{turn.message} of an agent")
        await turn.ask("question", f"{turn.message}?", data={"what": turn.message})

    turn.thinking(turn.message)
    async with turn.section(f"section.of.{turn.session}", turn.message):
        turn.content(turn.message)
        async with turn.tool("search", {"for": turn.message}):
            await turn.together(**{f"agent.of.{turn.session}": child})


class Victim(NamedTuple):
    """Alice, her conversation and all that it has ids for."""

    app: Starlette
    client: Client
    session: Session
    ids: dict[str, str]

    def unknown(self) -> dict[str, str]:
        """Ids of the same form that nobody has."""
        return {name: value[:-2] + "zz" for name, value in self.ids.items()}

    async def ticket(self) -> str:
        """One that she has just got, for her page."""
        answer = Http(self.app, "/api/agent/ticket", b"", bearing("alice-now") | {"origin": PAGE})
        return (await answer.json())["ticket"]


@asynccontextmanager
async def victim() -> AsyncGenerator[Victim]:
    """Alice, in the middle of an answer. Whatever happens inside, her log and what she was shown stay as they are."""
    guests = Guests()
    app = build_app(agent, Settings(timeouts=LONG), login=guests)
    gateway = app.state.gateway
    gateway.access.wall = lambda: 100.0
    async with running(app), connect(app, headers=bearing("alice-now")) as client:
        await client.send({"type": "hello"})
        opened = await client.until("session")
        await client.send({"type": "message", "data": CANARY, "id": "message-of-alice"})
        await drained(client, 1)
        asked = await got(client, "request")
        session = await gateway.sessions.find(opened["session"], owner="login:alice", token=None)
        ids = {
            "session": opened["session"],
            "run": asked["run"],
            "continues": asked["run"],
            "id": "message-of-alice",
            "request": asked["request"],
            "section": f"section.of.{opened['session']}",
            "agent": f"agent.of.{opened['session']}",
            "epoch": opened["epoch"],
            "token": "alice-now",
        }
        alice = Victim(app, client, session, ids)
        ids["ticket"] = await alice.ticket()
        before, shown = session.log.read(0), len(client.frames)
        listed = await gateway.sessions.page("login:alice", [], None, 10)
        assert [card.session for card in listed.cards] == [opened["session"]]
        assert CANARY in str(before)
        yield alice
        assert session.log.read(0) == before
        assert await gateway.sessions.page("login:alice", [], None, 10) == listed
        assert await drained(client, 10) == []
        assert len(client.frames) == shown
        await client.send({"type": "reply", "request": ids["request"], "data": {"text": "fine"}})
        await client.until("done")  # it was alive all the time


# What is asked


def required(field: FieldInfo) -> bool:
    return field.default is NODEFAULT and field.default_factory is NODEFAULT


def cases(kind: type[Struct]) -> Iterator[tuple[str, ...]]:
    """Which of its ids a frame or request names: each one, each with the session, all."""
    names = [field.encode_name for field in fields(kind)]
    assert set(names) <= {*IDS, *PLAIN}, "a new field needs a row in IDS or PLAIN"
    found = [name for name in names if name in IDS]
    must = [name for name in found if any(f.encode_name == name and required(f) for f in fields(kind))]
    seen = {
        tuple(dict.fromkeys((*must, *some)))
        for some in ((), *((name,) for name in found), *(("session", name) for name in found), tuple(found))
        if "session" in found or "session" not in some
    }
    yield from sorted(seen)


def filled(kind: type[Struct], case: tuple[str, ...], ids: Mapping[str, str]) -> dict[str, Any]:
    """A frame or request with these ids, and everything that it needs."""
    plain = {f.encode_name: PLAIN[f.encode_name] for f in fields(kind) if required(f) and f.encode_name in PLAIN}
    if "epoch" in case:
        plain["after"] = 0
    if "continues" in case:
        plain |= {name: "" for name in plain if name in ("data", "message")}  # nothing new is said with it
    return plain | {name: ids[name] for name in case}


def plain(text: str, ids: Mapping[str, str]) -> str:
    """An answer without what has to differ: the ids that were sent, those that were made, and times."""
    for value in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(value, "<sent>")
    text = re.sub(r"[A-Za-z0-9_-]{22}", "<made>", text)
    return re.sub(r"\d+\.\d+|\"stop_ms\": ?\d+", "<time>", text)


# By WebSocket


class Answer(NamedTuple):
    status: int
    frames: list[Frame]
    close: int | None

    def plain(self, ids: Mapping[str, str]) -> str:
        return f"{self.status} {self.close} " + plain(json.dumps(self.frames), ids)


async def sent(
    app: Starlette, frames: list[dict[str, Any]], headers: dict[str, str], *subprotocols: str, greet: bool
) -> Answer:
    """What comes of sending `frames` as the first, or with `greet` after a `hello`."""
    try:
        async with connect(app, headers=headers, subprotocols=subprotocols) as client:
            close = None
            try:
                if greet:
                    await client.send({"type": "hello"})
                    await client.until("session")
                for frame in frames:
                    await client.send(frame)
                    await drained(client, 1)
            except Closed as closed:
                close = closed.code
            if close is None:
                # Nothing of it is to go on when the next one comes.
                await client.send({"type": "interrupt"})
                await drained(client, 1)
            return Answer(101, client.frames, close)
    except Refused as refused:
        return Answer(refused.status, [], None)


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_a_frame_with_ids_of_another_owner(credential: str, kind: str) -> None:
    token = CREDENTIALS[credential]
    answered = 0
    async with victim() as alice:
        for case in cases(FRAMES[kind]):
            for greet in (False, True):
                answers: list[str] = []
                for ids in (alice.ids, alice.unknown()):
                    frame = {"type": kind} | filled(FRAMES[kind], case, ids)
                    answer = await sent(alice.app, [frame], bearing(token), greet=greet)
                    assert CANARY not in str(answer)
                    answers.append(answer.plain(ids))
                    if token is not None and token != "mallory":
                        assert (answer.status, answer.frames) == (401, [])
                    if token is None:
                        assert answer.close in (4400, 4401)
                        assert [frame["type"] for frame in answer.frames] == ["error"]
                    answered += len(answer.frames)
                assert answers[0] == answers[1], case
    assert (answered > 0) == (token in (None, "mallory"))


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_frame_after_the_end_of_its_login(kind: str) -> None:
    async with victim() as alice:
        for case in cases(FRAMES[kind]):
            gateway = alice.app.state.gateway
            async with connect(alice.app, headers=bearing("alice-ended")) as client:
                if kind != "hello":
                    await client.send({"type": "hello", "session": alice.ids["session"]})
                    await drained(client, 1)
                before = len(client.frames)
                client.reading.clear()  # so that its close doesn't end the matter
                assert gateway.revoke(id="ended") == 1
                await client.send({"type": kind} | filled(FRAMES[kind], case, alice.ids))
                await asyncio.sleep(1)
                client.reading.set()
                with pytest.raises(Closed, match="4401 unauthorized"):
                    await client.until("none such")
                assert [frame["type"] for frame in client.frames[before:]] == ["error"]
                if kind == "hello":
                    assert CANARY not in str(client.frames)


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_a_ticket_of_another_owner_at_the_handshake(credential: str, origin: str | None) -> None:
    # The list of origins would refuse this one; here it is the ticket that does.
    headers = bearing(CREDENTIALS[credential])
    async with victim() as alice:
        for ticket in (await alice.ticket(), alice.ids["ticket"], alice.unknown()["ticket"], "x", ""):
            answer = await sent(alice.app, [], headers, JSON, f"agent-ws.ticket.{ticket}", greet=True)
            assert answer == Answer(401, [], None)
            if origin is not None:
                answer = await sent(
                    alice.app, [], headers | {"origin": origin}, JSON, f"agent-ws.ticket.{ticket}", greet=True
                )
                assert answer.status == 403
            assert CANARY not in str(answer)


# By HTTP


def test_every_route_has_a_row() -> None:
    app = build_app(agent, login=Guests())
    found: set[str] = set()
    for route in app.routes:
        match route:
            case Route() | Mount():
                found.add(route.path)
            case WebSocketRoute():
                assert route.path == WEBSOCKET
            case _:
                pytest.fail(f"a new kind of route: {route!r}")
    assert found == {*OPEN, *PUBLIC}


def requests(method: str, path: str, ids: Mapping[str, str]) -> Iterator[tuple[str, Any, dict[str, str]]]:
    """Every way to name another owner's: target, body, headers."""
    kind = OPEN[path]
    path = path.format(**ids)
    bodies = [filled(kind, case, ids) for case in cases(kind)] if kind is not None else [{}, dict(ids)]
    if kind is ListAsk:
        bodies += [{"words": CANARY}, {"before": f"9e9~{ids['session']}"}, {"before": f"9999999999.0~{ids['session']}"}]
    for body in bodies:
        if method == "GET":
            yield f"{path}?{urlencode(body)}", None, {}
        else:
            yield path, body, {}
    for place in (f"{ids['session']}.{ids['epoch']}.1.{ids['run']}", f"{ids['session']}.{ids['epoch']}.1."):
        yield f"{path}?message=mine", None if method == "GET" else {"message": "mine"}, {"last-event-id": place}


def ways() -> list[tuple[str, str]]:
    """Each method of each route that needs a login, and one that it has not."""
    found: list[tuple[str, str]] = []
    for route in build_app(agent, login=Guests()).routes:
        if isinstance(route, Route) and route.path not in PUBLIC:
            found += [(method, route.path) for method in sorted({*(route.methods or ()), "PUT"})]
    return found


ALLOWED = {route.path: route.methods or set[str]() for route in build_app(agent).routes if isinstance(route, Route)}


@pytest.mark.parametrize(("method", "path"), ways())
@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_a_request_with_ids_of_another_owner(credential: str, method: str, path: str) -> None:
    token = CREDENTIALS[credential]
    statuses: set[int] = set()
    async with victim() as alice:
        unknown = alice.unknown()
        for ours, theirs in zip(requests(method, path, alice.ids), requests(method, path, unknown), strict=True):
            answers: list[tuple[int, str]] = []
            for (target, body, headers), ids in ((ours, alice.ids), (theirs, unknown)):
                request = Http(alice.app, target, body, bearing(token) | headers, method=method)
                # What mallory asks herself is answered for ever: her agent waits for her.
                try:
                    async with asyncio.timeout(10):
                        text = await request.text()
                except TimeoutError:
                    text = request.received.decode()
                    await request.leave()
                assert CANARY not in text + str(request.headers)
                answers.append((request.status, plain(text, ids)))
                if token != "mallory":
                    assert request.status in (401, 400)
                    assert "set-cookie" not in request.headers
                statuses.add(request.status)
            assert answers[0] == answers[1], ours
    if token != "mallory":
        assert 401 in statuses
    else:
        assert statuses <= {200, 204, 400, 404, 405}
        known = path not in OWN and method in (ALLOWED[path] - {"HEAD"})
        assert (404 in statuses) == known
