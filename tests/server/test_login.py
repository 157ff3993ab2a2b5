"""The login: who comes in by which credential, what they may use, and that its end is the end of what came in by it."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from helpers import Frame, Http, core, cursor, drained, got, hello, say, serving, sse
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from agent_ws import Identity, Limits, Login, Settings, Timeouts, Turn, build_app
from agent_ws.agents.scripted import Gate
from agent_ws.cursor import Cursor
from agent_ws.dialects.ndjson import NDJSON
from agent_ws.log import Position
from agent_ws.server.access import Access, Visitor, unauthorized
from agent_ws.server.gateway import Gateway
from agent_ws.server.stream import PIECE, Stream
from agent_ws.testing.client import Client, Closed, Refused, connect, running

pytestmark = pytest.mark.virtual

STREAM = "/api/agent/stream"
TICKET = "/api/agent/ticket"
PAGE = "http://localhost"
CANARY = "canary-in-the-check"
JSON = "agent-ws.v1.json"


class Guests:
    """A check whose answers a test changes: `Bearer alice-1` is alice, `alice-2` is her too."""

    def __init__(self) -> None:
        self.known = {name: Identity(name[:-2], id=name) for name in ("alice-1", "alice-2", "mallory-1")}
        self.gate: asyncio.Event | None = None
        self.asked = 0

    async def __call__(self, connection: HTTPConnection) -> Identity | None:
        self.asked += 1
        found = self.known.get(connection.headers.get("authorization", "").removeprefix("Bearer "))
        if self.gate is not None:
            await self.gate.wait()
        return found


def bearing(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


ALICE, ALICE_2, MALLORY = bearing("alice-1"), bearing("alice-2"), bearing("mallory-1")


def application(agent: Any, login: Login, **settings: Any) -> Starlette:
    """An application whose clock is the loop's."""
    app = build_app(agent, Settings(**settings), login=login)
    gateway_of(app).access.wall = lambda: asyncio.get_running_loop().time()
    return app


def gateway_of(app: Starlette) -> Gateway:
    return app.state.gateway


async def agent(turn: Turn) -> str:
    return f"You said {turn.message}"


def standing(gate: Gate) -> Callable[[Turn], Awaitable[None]]:
    """An agent that says something, waits at the gate, and says something more."""

    async def stand(turn: Turn) -> None:
        turn.content("before ")
        gate.reached.set()
        await gate.wait()
        turn.content("after")

    return stand


async def refusal(request: Http) -> tuple[int, Any]:
    body = await request.json()
    return request.status, body


UNAUTHORIZED = {"error": {"code": "unauthorized", "message": "expected a login that is valid, got none or another"}}


async def ticket_of(app: Starlette, headers: dict[str, str]) -> str:
    answer = Http(app, TICKET, b"", headers)
    got = await answer.json()
    assert (answer.status, got["expires_in"], set(got)) == (200, 30, {"ticket", "expires_in"})
    assert answer.headers["cache-control"] == "no-store"
    return got["ticket"]


async def closed(client: Client) -> tuple[Frame, int]:
    """The frame before the close, and its code."""
    with pytest.raises(Closed) as error:
        await client.until("no such type")
    return client.frames[-1], error.value.code


async def handshake(app: Starlette, headers: dict[str, str], *subprotocols: str) -> int:
    """The status of a handshake."""
    try:
        async with connect(app, headers=headers, subprotocols=subprotocols):
            return 101
    except Refused as refused:
        return refused.status


# Coming in


async def test_a_session_is_its_owners_on_every_wire_and_nobody_elses() -> None:
    app = application(agent, Guests())
    async with running(app):
        async with connect(app, headers=ALICE) as client:
            opened = await open_session(client)
            await say(client, "mine")
            await got(client, "settled")
        assert opened.get("token") is None
        for headers in (ALICE, ALICE_2):
            async with connect(app, headers=headers) as again:
                await again.send({"type": "hello", "session": opened["session"]})
                await again.until("settled")
                assert again.text() == "You said mine"
            text = await Http(app, STREAM, {"session": opened["session"], "epoch": "x", "after": 0}, headers).text()
            assert "You said mine" in text
        async with connect(app, headers=MALLORY) as other:
            await other.send({"type": "hello", "session": opened["session"]})
            assert (await closed(other))[1] == 4404
        assert (await refusal(Http(app, STREAM, {"session": opened["session"]}, MALLORY)))[0] == 404


async def open_session(client: Client, **more: Any) -> Frame:
    await client.send({"type": "hello", **more})
    return await client.until("session")


async def test_a_handshake_without_a_credential_may_log_in_by_its_first_frame_only() -> None:
    app = application(agent, Guests())
    async with running(app):
        ticket = await ticket_of(app, ALICE)
        async with connect(app) as client:
            await client.send({"type": "hello", "ticket": ticket})
            opened = await client.until("session")
            await say(client, "hi")
            await got(client, "done")
        async with connect(app, headers=ALICE) as client:
            assert (await open_session(client, session=opened["session"]))["session"] == opened["session"]
        for first in (
            {"type": "hello"},
            {"message": "hi"},
            {"type": "hello", "ticket": "x"},
            {"type": "hello", "token": "x"},
        ):
            async with connect(app) as client:
                await client.send(first)
                frame, code = await closed(client)
                assert (frame["type"], frame["code"], code) == ("error", "unauthorized", 4401)
                assert len(client.frames) == 1


async def test_a_login_that_does_not_come_in_time_is_missing() -> None:
    app = application(agent, Guests())
    loop = asyncio.get_running_loop()
    async with running(app):
        for headers, expected in (({}, ("unauthorized", 4401)), (ALICE, ("hello_timeout", 4408))):
            began = loop.time()
            async with connect(app, headers=headers) as client:
                frame, code = await closed(client)
                assert (frame["code"], code) == expected
                assert loop.time() - began == pytest.approx(5.0)


@pytest.mark.parametrize(
    "headers", [{}, bearing("nobody"), bearing(""), {"authorization": "Basic YTpi"}, {"authorization": ""}], ids=str
)
async def test_no_login_and_a_wrong_one_are_answered_alike(headers: dict[str, str]) -> None:
    app = application(agent, Guests())
    async with running(app):
        for path, body in (
            (STREAM, {"message": "x"}),
            (f"{STREAM}?message=x", None),
            (TICKET, b""),
            ("/nowhere", None),
        ):
            answer = Http(app, path, body, headers)
            assert await refusal(answer) == (401, UNAUTHORIZED)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "set-cookie" not in answer.headers
        assert await handshake(app, headers) == (401 if headers else 101)


async def test_the_proofs_of_a_server_without_a_login_are_of_no_use() -> None:
    open_app = build_app(agent)
    async with running(open_app):
        async with connect(open_app) as client:
            opened = await hello(client)
            cookie = {"cookie": dict(client.headers)[b"set-cookie"].decode().partition(";")[0]}
        async with connect(open_app, headers=cookie) as client:
            await open_session(client, session=opened["session"])
        app = application(agent, Guests())
        app.state.gateway.sessions = open_app.state.gateway.sessions  # the same store, after a restart with a login
        proof = {"session": opened["session"], "token": opened["token"]}
        async with connect(app, headers=cookie | MALLORY) as other:
            await other.send({"type": "hello", **proof})
            assert (await closed(other))[1] == 4404
        assert (await refusal(Http(app, STREAM, proof, cookie | MALLORY)))[0] == 404
        assert (await refusal(Http(app, STREAM, proof, cookie)))[0] == 401
        assert (await refusal(Http(app, STREAM, proof, bearing(opened["token"]))))[0] == 401


@pytest.mark.parametrize("name", ["token", "ticket"])
@pytest.mark.parametrize("login", [None, Guests()], ids=["without", "with"])
async def test_an_address_holds_no_credential(login: Login | None, name: str) -> None:
    app = build_app(agent, login=login)
    async with running(app):
        for path in (STREAM, "/api/agent/interrupt", TICKET, "/", "/assets/chat.js", "/ws", "/nowhere"):
            for query in (f"message=x&{name}=y", f"{name}", f"%74{name[1:]}=x"):
                status, body = await refusal(Http(app, f"{path}?{query}", headers=ALICE))
                assert (status, body["error"]["code"]) == (400, "bad_frame")
                assert "Authorization: Bearer" in body["error"]["message"]


# Tickets


async def test_a_ticket_is_a_subprotocol_that_is_never_chosen() -> None:
    app = application(agent, Guests())
    async with running(app):
        for offered in ((JSON, "ticket"), ("ticket", JSON)):
            ticket = f"agent-ws.ticket.{await ticket_of(app, ALICE)}"
            names = [ticket if name == "ticket" else name for name in offered]
            async with connect(app, subprotocols=names) as client:
                assert client.subprotocol == JSON
                await open_session(client)
            assert await handshake(app, {}, *names) == 401  # it is used
        assert await handshake(app, {}, f"agent-ws.ticket.{await ticket_of(app, ALICE)}") == 400
        for wrong in ("agent-ws.ticket.", "agent-ws.ticket.x"):
            assert await handshake(app, {}, JSON, wrong) == 401


async def test_a_second_credential_is_a_wrong_one() -> None:
    app = application(agent, Guests())
    async with running(app):
        first, second = [f"agent-ws.ticket.{await ticket_of(app, ALICE)}" for _ in range(2)]
        assert await handshake(app, {}, JSON, first, second) == 401
        assert await handshake(app, ALICE, JSON, f"agent-ws.ticket.{await ticket_of(app, ALICE)}") == 401
        ticket = await ticket_of(app, ALICE)
        async with connect(app, headers=ALICE) as client:
            await client.send({"type": "hello", "ticket": ticket})
            assert (await closed(client))[1] == 4401
        assert await handshake(app, {}, JSON, f"agent-ws.ticket.{ticket}") == 401


async def test_a_ticket_is_for_the_page_that_asked() -> None:
    other = "https://app.example.org"
    app = application(agent, Guests(), origins=(PAGE, other))
    async with running(app):
        for origin, shown, status in ((PAGE, PAGE, 101), (PAGE, other, 401), (PAGE, None, 401), (None, PAGE, 401)):
            at = {} if origin is None else {"origin": origin}
            then = {} if shown is None else {"origin": shown}
            name = f"agent-ws.ticket.{await ticket_of(app, ALICE | at)}"
            assert await handshake(app, then, JSON, name) == status
            async with connect(app, headers=then) as client:
                await client.send({"type": "hello", "ticket": await ticket_of(app, ALICE | at)})
                frame = await client.receive()
                assert frame["type"] == ("session" if status == 101 else "error")


async def test_a_ticket_waits_for_thirty_seconds() -> None:
    app = application(agent, Guests())
    async with running(app):
        for waits, status in ((29.9, 101), (30.0, 401)):
            name = f"agent-ws.ticket.{await ticket_of(app, ALICE)}"
            await asyncio.sleep(waits)
            assert await handshake(app, {}, JSON, name) == status


async def test_the_tickets_of_an_owner_are_bounded() -> None:
    app = application(agent, Guests(), limits=Limits(tickets_each=2))
    async with running(app):
        tickets = [f"agent-ws.ticket.{await ticket_of(app, ALICE)}" for _ in range(3)]
        assert [await handshake(app, {}, JSON, ticket) for ticket in tickets] == [401, 101, 101]


async def test_a_ticket_ends_with_the_login_that_it_was_made_with() -> None:
    guests = Guests()
    guests.known["alice-2"] = Identity("alice", expires=20, id="alice-2")
    app = application(agent, guests)
    async with running(app):
        tickets = [await ticket_of(app, ALICE), await ticket_of(app, ALICE_2)]
        gateway_of(app).revoke(id="alice-1")
        await asyncio.sleep(20)
        assert [await handshake(app, {}, JSON, f"agent-ws.ticket.{ticket}") for ticket in tickets] == [401, 401]
        guests.known["alice-2"] = Identity("alice", expires=40, id="alice-2")
        ticket = await ticket_of(app, ALICE_2)
        async with connect(app, subprotocols=[JSON, f"agent-ws.ticket.{ticket}"]) as client:
            await open_session(client)
            assert (await closed(client))[1] == 4401
            assert asyncio.get_running_loop().time() == pytest.approx(40.0)


async def test_a_server_without_a_login_has_no_tickets_and_ignores_them() -> None:
    async with serving(agent) as app:
        answer = Http(app, TICKET, b"")
        await answer.text()
        assert answer.status == 404
        async with connect(app, subprotocols=[JSON, "agent-ws.ticket.x"]) as client:
            await hello(client, ticket="x")


# The end of a login


async def watched(app: Starlette, client: Client, gate: Gate) -> list[Http]:
    """A WebSocket of alice's first login, and two streams of its run."""
    opened = await open_session(client)
    await say(client, "hi")
    await gate.reached.wait()
    await got(client, "content")
    body = {"session": opened["session"], "epoch": opened["epoch"], "after": 0}
    streams = [
        Http(app, STREAM, body, ALICE | {"accept": kind}) for kind in ("text/event-stream", "application/x-ndjson")
    ]
    for stream in streams:
        await stream.until("before")
    return streams


async def ended(client: Client, events: Http, lines: Http) -> None:
    """All three have ended as PROTOCOL.md says."""
    frame, code = await closed(client)
    assert (frame["type"], frame["code"], code) == ("error", "unauthorized", 4401)
    name, place, data = sse(await events.text())[-1]
    assert (name, data["code"]) == ("error", "unauthorized")
    assert place.startswith(client.frames[0]["session"])
    assert not {"seq", "run"} & set(data)
    *_, last = (await lines.text()).splitlines()
    assert '"code":"unauthorized"' in last
    assert '"seq"' not in last


@pytest.mark.parametrize("how", ["expired", "of this login", "of the owner"])
async def test_the_end_of_a_login_ends_its_connections_and_not_its_run(how: str) -> None:
    guests, gate = Guests(), Gate()
    if how == "expired":
        guests.known["alice-1"] = Identity("alice", expires=3600 * 24 * 3 + 0.5, id="alice-1")
    app = application(standing(gate), guests, timeouts=Timeouts(run=1e7, silence=1e7, heartbeat=1e6))
    async with (
        running(app),
        connect(app, headers=ALICE) as client,
        connect(app, headers=MALLORY) as other,
        connect(app, headers=ALICE_2) as second,
    ):
        events, lines = await watched(app, client, gate)
        opened = client.frames[0]
        await open_session(other)
        await open_session(second, session=opened["session"])
        if how == "expired":
            await asyncio.sleep(3600 * 24 * 3 + 0.4)
            assert client.events[-1]["type"] == "content"
        elif how == "of this login":
            assert gateway_of(app).revoke(id="alice-1") == 3
        else:
            assert gateway_of(app).revoke("alice") == 4
        await ended(client, events, lines)
        del guests.known["alice-1"]
        place = f"{opened['session']}.{opened['epoch']}.1."
        assert (await refusal(Http(app, f"{STREAM}?message=x", headers=ALICE | {"last-event-id": place})))[0] == 401
        if how == "of the owner":
            assert (await closed(second))[1] == 4401
        gate.set()
        async with connect(app, headers=ALICE_2) as back:
            await open_session(back, session=opened["session"], **cursor(client, opened))
            await got(back, "settled")
            assert client.text() + back.text() == "before after"
            assert [frame["type"] for frame in back.frames][-2:] == ["done", "settled"]
        await other.send({"type": "ping"})
        await other.until("pong")


@pytest.mark.parametrize("expires", [None, math.inf, 1e300, 2.0**63, 253402300799.0])
async def test_a_login_may_end_in_any_year(expires: float | None) -> None:
    guests = Guests()
    guests.known["alice-1"] = Identity("alice", expires=expires)
    app = application(agent, guests)
    async with running(app), connect(app, headers=ALICE) as client:
        await open_session(client)
        await asyncio.sleep(3600)
        await say(client, "still here")
        await got(client, "settled")


async def test_a_connection_that_is_over_is_not_ended_again() -> None:
    access = Access(Settings(), Guests(), wall=lambda: asyncio.get_running_loop().time())
    ended: list[str] = []
    with Visitor(access, {"type": "http", "headers": []}) as visitor:
        access.enter(visitor, Identity("alice", expires=1000))
        visitor.on_end(lambda: ended.append("ended"))
    await asyncio.sleep(2000)
    assert ended == []


async def test_a_login_that_is_given_another_time_ends_then() -> None:
    access = Access(Settings(), Guests(), wall=lambda: asyncio.get_running_loop().time())
    with (
        Visitor(access, {"type": "http", "headers": []}) as longer,
        Visitor(access, {"type": "http", "headers": []}) as shorter,
    ):
        for visitor in (longer, shorter):
            access.enter(visitor, Identity("alice", expires=1000))
        longer.log_in(Identity("alice", expires=5000))
        shorter.log_in(Identity("alice", expires=500))
        for now, ended in ((499, (False, False)), (501, (False, True)), (4999, (False, True)), (5001, (True, True))):
            await asyncio.sleep(now - asyncio.get_running_loop().time())
            assert (longer.ended, shorter.ended) == ended


@pytest.mark.parametrize("expires", [0.0, -1.0, -math.inf])
async def test_a_login_that_has_expired_is_none(expires: float) -> None:
    guests = Guests()
    guests.known["alice-1"] = Identity("alice", expires=expires)
    app = application(agent, guests)
    async with running(app):
        assert await refusal(Http(app, STREAM, {"message": "x"}, ALICE)) == (401, UNAUTHORIZED)
        assert await handshake(app, ALICE) == 401


async def test_after_the_end_nothing_is_served_and_nothing_leaves_however_slowly_it_reads() -> None:
    gate = Gate()
    said: list[str] = []

    async def flooding(turn: Turn) -> None:
        said.append(turn.message)
        for i in range(400):
            turn.thinking(str(i))
            turn.content(str(i))  # of two kinds, so that nothing is merged
        await gate.wait()

    app = application(flooding, Guests())
    async with running(app), connect(app, headers=ALICE) as client:
        opened = await open_session(client)
        await client.send({"type": "pause"})
        await client.send({"message": "first"})
        await client.until("accepted")
        client.reading.clear()
        await client.send({"type": "continue"})  # all is on its way, and the socket is full
        await asyncio.sleep(1)
        gateway_of(app).revoke("alice")
        await client.send({"message": "second", "when_busy": "interrupt"})
        await client.send({"type": "interrupt"})
        await client.send({"type": "continue"})
        await asyncio.sleep(1)
        client.reading.set()
        frame, code = await closed(client)
        assert (frame["code"], code) == ("unauthorized", 4401)
        assert len(client.events) <= 1  # what was on its way already
        assert said == ["first"]
        async with connect(app, headers=ALICE_2) as back:
            await open_session(back, session=opened["session"])
            gate.set()
            await back.until("done")


async def test_a_stream_ends_between_two_pieces_however_much_there_is() -> None:
    async def long(turn: Turn) -> None:
        for _ in range(100):
            turn.thinking("x" * 1000)
            turn.content("y" * 1000)

    async with serving(long) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        await got(client, "settled")
        session = await core(app, opened)
        stream = Stream(session, Cursor(session.log, Position(session.log.epoch, 0)), Settings())
        chunks = stream.chunks(NDJSON)
        async with aclosing(chunks):
            await anext(chunks)
            assert len(await anext(chunks)) >= PIECE
            stream.refuse(unauthorized())
            (rest,) = [chunk async for chunk in chunks]
        assert rest.count(b"\n") == 1
        assert b'"code":"unauthorized"' in rest


async def test_a_login_that_ends_while_its_session_is_loaded_opens_nothing() -> None:
    app = application(agent, Guests())
    gateway = gateway_of(app)
    async with running(app):
        async with connect(app, headers=ALICE) as client:
            opened = await open_session(client)
            await say(client, "mine")
            await got(client, "settled")
        find, gate = gateway.sessions.find, asyncio.Event()

        async def slowly(*args: Any, **kwargs: Any) -> Any:
            await gate.wait()
            return await find(*args, **kwargs)

        gateway.sessions.find = slowly
        async with connect(app, headers=ALICE) as client:
            client.reading.clear()  # so that it is not closed before it says more
            await client.send({"type": "hello", "session": opened["session"]})
            call = Http(app, "/api/agent/interrupt", {"session": opened["session"]}, ALICE)
            stream = Http(app, STREAM, {"session": opened["session"], "message": "late"}, ALICE)
            await asyncio.sleep(1)
            assert gateway.revoke("alice") == 3
            gate.set()
            await asyncio.sleep(1)
            await client.send({"message": "late as well"})
            await asyncio.sleep(1)
            client.reading.set()
            assert (await closed(client))[1] == 4401
            assert len(client.frames) == 1
            assert await refusal(call) == (401, UNAUTHORIZED)
            assert await refusal(stream) == (401, UNAUTHORIZED)
        gateway.sessions.find = find
        async with connect(app, headers=ALICE) as client:
            await open_session(client, session=opened["session"])
            await drained(client, 5)
            assert "settled" in str(client.frames)
            assert "late" not in str(client.frames)


async def test_a_login_that_is_revoked_while_it_is_checked_is_none() -> None:
    guests = Guests()
    app = application(agent, guests)
    async with running(app):
        for revoke in ({"owner": "alice"}, {"id": "alice-1"}, {"owner": "alice", "id": "alice-1"}):
            guests.gate = asyncio.Event()
            request = Http(app, STREAM, {"message": "x"}, ALICE)
            other = Http(app, STREAM, {"message": "x"}, MALLORY)
            await asyncio.sleep(1)
            assert gateway_of(app).revoke(**revoke) == 0
            guests.gate.set()
            assert await refusal(request) == (401, UNAUTHORIZED)
            await other.text()
            assert other.status == 200
            guests.gate = None
            again = Http(app, STREAM, {"message": "x"}, ALICE)
            await again.text()
            assert again.status == 200


async def test_a_revocation_names_somebody() -> None:
    app = application(agent, Guests())
    with pytest.raises(ValueError, match="expected an owner or the id"):
        gateway_of(app).revoke()
    assert gateway_of(app).revoke("nobody") == 0
    async with running(app), connect(app, headers=ALICE) as client:
        await open_session(client)
        assert gateway_of(app).revoke("mallory", id="alice-1") == 0
        await client.send({"type": "ping"})
        await client.until("pong")


async def test_what_has_ended_is_counted_no_more() -> None:
    app = application(agent, Guests())
    async with running(app):
        async with connect(app, headers=ALICE) as client:
            await open_session(client)
        await Http(app, STREAM, {"message": "x"}, ALICE).text()
        assert gateway_of(app).revoke("alice") == 0


# A check that fails


async def raising(connection: HTTPConnection) -> Identity | None:
    raise RuntimeError(CANARY + connection.headers.get("authorization", ""))


async def exiting(connection: HTTPConnection) -> Identity | None:
    del connection
    raise SystemExit(CANARY)


async def hanging(connection: HTTPConnection) -> Identity | None:
    del connection
    await asyncio.Event().wait()
    return None


async def confused(connection: HTTPConnection) -> Any:
    del connection
    return CANARY


async def impossible(connection: HTTPConnection) -> Identity | None:
    del connection
    return Identity(CANARY * 20)


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (raising, "RuntimeError at"),
        (exiting, "SystemExit at"),
        (hanging, "in time and did not (seconds=5)"),
        (confused, "TypeError at"),
        (impossible, "ValueError at"),
    ],
)
async def test_a_check_that_fails_is_a_fault_of_the_servers(
    login: Login, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = application(agent, login)
    async with running(app):
        for path, body in ((STREAM, {"message": "x"}), (TICKET, b"")):
            caplog.clear()
            status, answer = await refusal(Http(app, path, body, ALICE))
            assert (status, answer["error"]["code"]) == (500, "internal_error")
            assert CANARY not in str(answer)
            (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert said in record.getMessage()
            assert CANARY not in caplog.text
            assert "alice-1" not in caplog.text
        assert await handshake(app, ALICE) == 500
        assert await handshake(app, {}) == 500


async def test_a_check_sees_the_head_of_the_request() -> None:
    seen: list[tuple[str, str, str | None]] = []

    async def check(connection: HTTPConnection) -> Identity | None:
        host = connection.client.host if connection.client is not None else None
        seen.append((connection.url.path, connection.cookies.get("sso", ""), host))
        return Identity("alice") if connection.cookies.get("sso") == "good" else None

    app = application(agent, check)
    async with running(app):
        for cookie, status, code in (("good", 200, 101), ("bad", 401, 101)):
            request = Http(app, STREAM, {"message": "x"}, {"cookie": f"sso={cookie}"})
            await request.text()
            assert request.status == status
            assert await handshake(app, {"cookie": f"sso={cookie}"}) == code
        assert seen[0] == (STREAM, "good", "127.0.0.1")
        async with connect(app, headers={"cookie": "sso=bad"}) as client:
            await client.send({"message": "x"})
            assert (await closed(client))[1] == 4401


def test_a_server_has_one_login(tmp_path: Any) -> None:
    path = tmp_path / "tokens"
    path.touch()
    with pytest.raises(ValueError, match="expected one login"):
        build_app(agent, Settings(tokens=str(path)), login=Guests())


@pytest.mark.parametrize(("owner", "expires"), [("", None), ("a" * 129, None), ("a\n", None), ("a", math.nan)])
def test_an_identity_that_could_not_be_kept_is_none(owner: str, expires: float | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        Identity(owner, expires=expires)
