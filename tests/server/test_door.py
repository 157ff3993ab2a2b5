"""How many may be there, and how often one may ask: who is refused is told, who is inside is left alone."""

import asyncio
import json
from typing import Any

import pytest
from live import MakeSite, Site
from wire import DEADLINE_S, NDJSON, STREAM, RawWebSocket, Response, eventually

from agent_ws import Limits, Timeouts
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.server import door

SAY = {"message": "Hello agent"}
INTERRUPT = "/api/agent/interrupt"


async def refused(response: Response, status: int, code: str) -> None:
    """It is the answer of a door: with its code, and when to come back."""
    assert response.status == status
    assert (await response.json())["error"]["code"] == code
    assert int(response.header("retry-after")) >= 1


async def opened(site: Site, fields: dict[str, str] | None = None) -> tuple[RawWebSocket, dict[str, Any]]:
    socket = await site.websocket(fields or {})
    socket.send('{"type": "hello"}')
    return socket, await socket.until("session")


async def nobody_is_left(site: Site) -> None:
    """All that was counted in was counted out."""
    site.close()
    await eventually(lambda: not site.server.server_state.connections and not site.server.server_state.tasks)
    await eventually(lambda: site.gateway.door.sockets == 0)
    assert site.gateway.door.requests == 0


# Connections


@pytest.mark.parametrize("limits", [Limits(connections=2), Limits(address_connections=2)])
async def test_one_connection_too_many_is_refused_before_it_is_accepted(make_site: MakeSite, limits: Limits) -> None:
    site = await make_site(Scripted(["Hi"]), limits=limits)
    first, _ = await opened(site)
    await opened(site)
    for _ in range(3):
        _, handshake = await site.shake_hands()
        await refused(handshake, 503, "too_many_connections")
        await refused(await site.post(STREAM, SAY), 503, "too_many_connections")
    first.send(json.dumps(SAY))
    assert (await first.until("content"))["data"] == "Hi", "who is inside is left alone"
    first.cut()
    await eventually(lambda: site.gateway.door.sockets == 1)
    await opened(site)
    await nobody_is_left(site)


async def test_streams_are_connections_too(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi", Gate()]), limits=Limits(connections=2))
    streams = [await site.post(STREAM, SAY, NDJSON) for _ in range(2)]
    assert [stream.status for stream in streams] == [200, 200]
    _, handshake = await site.shake_hands()
    await refused(handshake, 503, "too_many_connections")
    await nobody_is_left(site)


async def test_connections_that_ask_for_nothing_count_from_their_first_moment(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(connections=3))
    silent = [(await site.dial())[1] for _ in range(3)]
    silent[0].write(b"GET /ws HT")  # half a handshake
    await eventually(lambda: site.gateway.door.sockets == 3)
    _, handshake = await site.shake_hands()
    await refused(handshake, 503, "too_many_connections")
    silent[1].transport.abort()
    await eventually(lambda: site.gateway.door.sockets == 2)
    await opened(site)
    await nobody_is_left(site)


async def test_connections_that_ask_for_nothing_are_gone_in_time(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(connections=3), timeouts=Timeouts(hello=0.1))
    for _ in range(5):
        await site.dial()
    await eventually(lambda: site.gateway.door.sockets == 3)
    await eventually(lambda: site.gateway.door.sockets == 0)
    await opened(site)


async def test_a_full_server_answers_the_probes(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(connections=1))
    await opened(site)
    for probe in ("/healthz", "/readyz"):
        assert (await site.get(probe)).status == 200
    await refused(await site.get("/"), 503, "too_many_connections")


async def test_where_there_is_no_room_for_an_answer_there_is_none(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "SPARE", 2)
    site = await make_site(Scripted(["Hi"]), limits=Limits(connections=1), timeouts=Timeouts(hello=60))
    await opened(site)
    for _ in range(2):
        await site.dial()  # each of them holds the place for an answer until its time is over
    reader, _ = await site.dial()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        async with asyncio.timeout(DEADLINE_S):
            await reader.readexactly(1)
    await nobody_is_left(site)


async def test_who_was_refused_may_try_as_often_as_the_rate_allows_and_leaves_nothing(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(connections=1, frame_burst=1_000))
    inside, _ = await opened(site)
    for _ in range(200):
        _, handshake = await site.shake_hands()
        assert handshake.status == 503
        await handshake.body()
    inside.send(json.dumps(SAY))
    await inside.until("done")
    await nobody_is_left(site)


# Addresses behind a proxy


def client(number: int) -> dict[str, str]:
    return {"x-forwarded-for": f"203.0.113.{number}"}


async def test_behind_a_proxy_each_client_has_an_address(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(address_connections=2), proxies=("127.0.0.1",))
    for number in (1, 2, 3):
        for _ in range(2):
            await opened(site, client(number))
        _, handshake = await site.shake_hands(client(number))
        await refused(handshake, 503, "too_many_connections")
    await nobody_is_left(site)


async def test_who_is_no_proxy_is_not_believed(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(address_connections=2), proxies=("10.0.0.1",))
    for number in (1, 2):
        await opened(site, client(number))
    _, handshake = await site.shake_hands(client(3))
    await refused(handshake, 503, "too_many_connections")


async def test_behind_a_proxy_each_client_has_a_rate(make_site: MakeSite) -> None:
    limits = Limits(frame_rate=0.01, frame_burst=2)
    site = await make_site(Scripted(["Hi"]), limits=limits, proxies=("127.0.0.1",))
    for number in (1, 2):
        statuses = [(await site.get("/", client(number))).status for _ in range(3)]
        assert statuses == [200, 200, 429]


async def test_a_proxy_that_nobody_named_is_told_of_once(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    site = await make_site(Scripted(["Hi"]), proxies=("10.0.0.1",))
    for number in (1, 2):
        await site.get("/", client(number))
    (record,) = caplog.records
    assert "--proxy (address=127.0.0.1)" in record.getMessage()
    assert "203.0.113" not in record.getMessage()


# Rates


async def test_too_many_requests_are_refused_and_the_stop_is_heard(make_site: MakeSite) -> None:
    agent = Scripted(["Hi", Gate()])
    site = await make_site(agent, limits=Limits(frame_rate=0.01, frame_burst=3))
    stream = await site.post(STREAM, SAY, NDJSON)
    frames = stream.lines()
    session = await anext(frames)
    for _ in range(2):
        assert (await site.get("/")).status == 200
    response = await site.get("/")
    await refused(response, 429, "rate_limited")
    assert int(response.header("retry-after")) == 100
    _, handshake = await site.shake_hands()
    await refused(handshake, 429, "rate_limited")
    proof = {"session": session["session"], "token": session["token"]}
    stopped = await site.post(INTERRUPT, proof)
    assert len((await stopped.json())["interrupted"]) == 1
    assert [frame["type"] async for frame in frames][-2:] == ["interrupted", "end"]
    for _ in range(2):
        assert (await site.post(INTERRUPT, proof)).status == 200
    await refused(await site.post(INTERRUPT, proof), 429, "rate_limited")
    assert (await site.get("/healthz")).status == 200
    await nobody_is_left(site)


async def test_a_frame_beyond_the_rate_is_answered_and_the_stop_is_heard(make_site: MakeSite) -> None:
    agent = Scripted(["Hi", Gate()])
    site = await make_site(agent, limits=Limits(frame_rate=0.01, frame_burst=2))
    socket, _ = await opened(site)
    socket.send(json.dumps(SAY))
    await socket.until("content")
    socket.send(json.dumps({"message": "more", "id": "c2"}))
    rejected = await socket.until("rejected")
    assert (rejected["type"], rejected["code"], rejected["id"]) == ("rejected", "rate_limited", "c2")
    socket.send('{"type": "ping"}')
    assert (await socket.until("error", "pong"))["code"] == "rate_limited"
    socket.send('{"type": "interrupt"}')
    assert (await socket.until("interrupted"))["reason"] == "user"
    assert len(agent.turns) == 1


async def test_bytes_have_a_rate_too(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(byte_rate=1, byte_burst=1000))
    socket, _ = await opened(site)
    socket.send(json.dumps({"message": "ü" * 300, "id": "c1"}, ensure_ascii=False))
    assert (await socket.until("accepted", "rejected"))["type"] == "accepted"
    socket.send(json.dumps({"message": "ü" * 300, "id": "c2"}, ensure_ascii=False))
    assert (await socket.until("accepted", "rejected"))["code"] == "rate_limited"


@pytest.mark.parametrize("frame", ['{"type": "ping"}', '{"message": "x"}', '{"type": "interrupt"}', "nonsense"])
async def test_who_does_not_slow_down_is_closed(make_site: MakeSite, frame: str) -> None:
    limits = Limits(frame_rate=0.01, frame_burst=10, overruns=20, bad_frames=1_000, queued=100)
    site = await make_site(Scripted(["Hi"]), limits=limits)
    socket, _ = await opened(site)
    for _ in range(100):
        socket.send(frame)
    frames: list[dict[str, Any]] = []
    while (got := await socket.receive())[0] == 1:
        frames.append(json.loads(got[1]))
    assert [frame for frame in frames if frame["type"] == "error"][-1]["code"] == "rate_limited"
    assert got[0] == 8
    assert got[1][2:] == b"rate_limited"
    assert int.from_bytes(got[1][:2]) == 4429
    await nobody_is_left(site)


async def test_the_stop_that_is_one_too_many_is_served_first(make_site: MakeSite) -> None:
    agent = Scripted(["Hi", Gate()])
    site = await make_site(agent, limits=Limits(frame_rate=0.01, frame_burst=2, overruns=3))
    socket, _ = await opened(site)
    socket.send(json.dumps(SAY))
    await socket.until("content")
    for _ in range(2):
        socket.send('{"type": "ping"}')
    socket.send('{"type": "interrupt"}')
    assert (await socket.until("interrupted"))["reason"] == "user"
    assert await socket.close_code() == 4429


@pytest.mark.parametrize(("opcode", "payload"), [(9, b"x"), (10, b"x")])
async def test_pings_that_no_application_sees_have_a_rate(make_site: MakeSite, opcode: int, payload: bytes) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(frame_rate=0.01, frame_burst=10, overruns=20))
    socket, _ = await opened(site)
    for _ in range(28):
        socket.send(payload, opcode)
    socket.send('{"type": "ping"}')
    while (got := await socket.receive())[0] == 10:
        pass
    assert json.loads(got[1])["code"] == "rate_limited", "it is still there"
    for _ in range(5):
        socket.send(payload, opcode)
    assert await socket.close_code() == 4429
    await nobody_is_left(site)


async def test_a_message_in_many_fragments_counts_for_more_than_one(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(frame_rate=0.01, frame_burst=10, overruns=20))
    socket, _ = await opened(site)
    socket.writer.write(b"\x01\x80" + bytes(4) + (b"\x00\x80" + bytes(4)) * 500)
    assert await socket.close_code() == 4429


# Sessions


async def test_an_address_makes_so_many_sessions(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(session_rate=0.01, session_burst=2))
    _, first = await opened(site)
    assert (await site.post(STREAM, SAY)).status == 200
    socket = await site.websocket()
    socket.send('{"type": "hello"}')
    assert (await socket.frame())["code"] == "too_many_sessions"
    assert await socket.close_code() == 4429
    await refused(await site.post(STREAM, SAY), 429, "too_many_sessions")
    back = await site.websocket()
    back.send(json.dumps({"type": "hello", "session": first["session"], "token": first["token"]}))
    assert (await back.until("session"))["session"] == first["session"], "it has those that it has"


async def test_an_owner_has_so_many_sessions_in_use(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), limits=Limits(owner_sessions=2))
    cookie = {"cookie": f"agent_ws_owner={'a' * 22}"}
    first, session = await opened(site, cookie)
    second, _ = await opened(site, cookie)
    await refused(await site.post(STREAM, SAY, cookie), 429, "too_many_sessions")
    third = await site.websocket(cookie)
    third.send('{"type": "hello"}')
    assert await third.close_code() == 4429
    await opened(site, {"cookie": f"agent_ws_owner={'b' * 22}"})
    again = await site.websocket(cookie)
    again.send(json.dumps({"type": "hello", "session": session["session"]}))
    await again.until("session")  # another tab with the same session is no more sessions
    second.cut()
    core = await site.session(session)
    assert not core.idle
    await eventually(lambda: site.server.server_state.tasks.__len__() == 3)
    made, later = await opened(site, cookie)
    made.cut()
    first.cut()
    again.cut()
    # And one that is idle comes back, in the place of another.
    await eventually(lambda: site.server.server_state.tasks.__len__() == 1)
    for back in (session, later, session):
        socket = await site.websocket(cookie)
        socket.send(json.dumps({"type": "hello", "session": back["session"]}))
        await socket.until("session")
        socket.cut()
