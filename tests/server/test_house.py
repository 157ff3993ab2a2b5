"""The housekeeping, beat by beat: the test says what time it is."""

import asyncio
import json

import pytest
from live import MakeSite, Site
from wire import STREAM, EventSource, RawWebSocket, eventually

from agent_ws import Settings, Timeouts
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.lag import CALM, Lag
from agent_ws.rates import Meter
from agent_ws.server.gateway import Gateway
from agent_ws.server.house import BEAT_S, ROUND, TELL_S, House
from agent_ws.server.protocols import StallingWebSocket

SAY = {"message": "Hello agent"}
PATIENT = Timeouts(idle=100, age=1000, lag=1e9, lag_told=1e9)


def later(site: Site, seconds: float) -> None:
    """Let the housekeeping believe that so much time has passed, for as long as it takes to look at everybody."""
    now = asyncio.get_running_loop().time() + seconds
    for _ in range(2 * ROUND):
        site.gateway.house.beat(now)


async def opened(site: Site) -> RawWebSocket:
    socket = await site.websocket()
    socket.send('{"type": "hello"}')
    await socket.until("session")
    return socket


async def told(socket: RawWebSocket) -> tuple[str, int]:
    """What the connection is closed with: the code of the error before it, and its own."""
    return (await socket.until("error"))["code"], await socket.close_code()


async def test_a_silent_connection_is_told_to_come_back_when_there_is_something(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=PATIENT)
    silent = await opened(site)
    later(site, 80)
    silent.send('{"type": "ping"}')
    assert (await silent.frame())["type"] == "pong", "it is still there"
    later(site, 101)
    assert await told(silent) == ("idle", 4408)


def meter_of(site: Site) -> Meter:
    """That of the only WebSocket."""
    (protocol,) = site.server.server_state.connections
    assert isinstance(protocol, StallingWebSocket)
    return protocol.scope.get("state", {})["meter"]


@pytest.mark.parametrize(
    ("text", "opcode"),
    [('{"type": "ping"}', None), ("nonsense", None), ("x", 9), ("x", 10)],
    ids=["a frame", "a bad frame", "a ping", "a pong of its own"],
)
async def test_whatever_a_client_sends_is_a_sign_of_life(make_site: MakeSite, text: str, opcode: int | None) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=PATIENT)
    socket = await opened(site)
    meter = meter_of(site)
    meter.heard = 0.0
    socket.send(text, opcode)
    await eventually(lambda: meter.heard > 0)
    later(site, 99)
    socket.send('{"type": "ping", "data": "still there"}')
    while b"still there" not in (got := await socket.receive())[1]:
        assert got[0] != 8


async def test_an_answer_to_the_servers_own_ping_is_none(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=PATIENT)
    socket = await opened(site)
    (protocol,) = site.server.server_state.connections
    assert isinstance(protocol, StallingWebSocket)
    meter = meter_of(site)
    meter.heard = 0.0
    protocol.send_keepalive_ping()
    opcode, payload = await socket.receive()
    assert opcode == 9
    socket.send(payload, 10)
    await eventually(lambda: protocol.pending_ping_payload is None)
    assert meter.heard == 0.0, "else nobody was ever idle"


async def test_an_answer_is_a_sign_of_life_also_while_it_is_thought_about(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["Hi", gate, "!"]), timeouts=PATIENT)
    socket = await opened(site)
    socket.send(json.dumps(SAY))
    await socket.until("content")
    for seconds in (150, 300, 450):
        later(site, seconds)
    gate.set()
    await socket.until("settled")
    later(site, 500)
    socket.send('{"type": "ping"}')
    await socket.until("pong")
    later(site, 700)
    assert await told(socket) == ("idle", 4408)


async def test_an_answer_that_came_and_went_between_two_looks_is_a_sign_of_life(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=PATIENT)
    socket = await opened(site)
    socket.send(json.dumps(SAY))
    await socket.until("settled")
    later(site, 90)
    later(site, 180)
    socket.send('{"type": "ping"}')
    await socket.until("pong")
    later(site, 191)
    assert await told(socket) == ("idle", 4408)


async def test_connections_do_not_all_get_old_at_once() -> None:
    now = asyncio.get_running_loop().time()
    ages = [
        Gateway(Scripted([]), Settings(timeouts=PATIENT), chance=lambda chance=chance: chance).life()
        for chance in (0.0, 1.0)
    ]
    assert [life.over(now + 950, heard=now + 950, sent=0, going=False) for life in ages] == [None, "old_connection"]


async def test_addresses_that_were_quiet_are_forgotten(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=PATIENT)
    await opened(site)
    assert site.gateway.door.remembered == 1
    later(site, 10)
    assert site.gateway.door.remembered == 0


async def test_an_old_connection_is_told_to_come_back_but_not_in_an_answer(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["Hi", gate]), timeouts=PATIENT)
    busy, idle = await opened(site), await opened(site)
    busy.send(json.dumps(SAY))
    await busy.until("content")
    later(site, 1001)
    assert await told(idle) == ("old_connection", 4503)
    later(site, 1990)
    busy.send('{"type": "ping"}')
    await busy.until("pong")
    later(site, 2001)
    assert await told(busy) == ("old_connection", 4503)
    await eventually(lambda: not site.server.server_state.tasks)


async def test_an_old_stream_is_cut_off_and_its_client_comes_back_for_the_rest(make_site: MakeSite) -> None:
    gate = Gate()
    agent = Scripted(["One, ", gate, "two."])
    times = Timeouts(age=1000, lag=1e9, lag_told=1e9, heartbeat=0.01)
    site = await make_site(agent, timeouts=times)
    source = EventSource(site, f"{STREAM}?message=hi")
    assert await source.open() == 200
    await source.until("message")
    later(site, 1990)
    later(site, 2001)
    await source.end()
    assert [m.type for m in source.messages][-1] != "end"
    gate.set()
    assert await source.open() == 200
    await source.end()
    assert source.text == "One, two."
    assert source.messages[-1].type == "end"
    assert len(agent.turns) == 1


async def test_nobody_is_watched_who_is_gone(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), timeouts=PATIENT)
    before = site.gateway.house.watched
    for _ in range(3):
        await opened(site)
        await (await site.post(STREAM, SAY)).body()
    assert site.gateway.house.watched == before + 3
    site.close()
    await eventually(lambda: site.gateway.house.watched == before)


def test_a_beat_looks_at_a_share_and_a_round_at_everybody() -> None:
    house = House(PATIENT, Lag(1e9), lambda _: None)
    looks: list[int] = []
    for number in range(1000):
        house.watch(lambda _, number=number: looks.append(number))
    house.beat(0.0)
    assert len(looks) == 1000 // ROUND + 1
    for beat in range(1, ROUND):
        house.beat(beat * BEAT_S)
    assert looks[:1000] == list(range(1000))


def test_who_left_in_a_round_is_not_looked_at() -> None:
    house = House(PATIENT, Lag(1e9), lambda _: None)
    looks: list[int] = []
    leave = [house.watch(lambda _, number=number: looks.append(number)) for number in range(3)]
    house.beat(0.0)
    leave[1]()
    leave[1]()
    house.beat(0.1)
    house.beat(0.2)
    assert looks == [0, 2]


# The event loop's lag


class Clock:
    """Beats of a loop that is late now and then."""

    def __init__(self, **times: float) -> None:
        self.overloaded: list[bool] = []
        self.lag = Lag(1.0)
        self.house = House(Timeouts(**times), self.lag, self.overloaded.append)
        self.now = 0.0
        self.house.beat(0.0)

    def beats(self, count: int, late: float = 0.0) -> None:
        for _ in range(count):
            self.now += BEAT_S + late
            self.house.beat(self.now)


def test_what_the_loop_was_late_by_is_measured() -> None:
    clock = Clock()
    clock.beats(98)
    clock.beats(2, late=0.4)
    assert clock.lag.lateness.last == pytest.approx(0.4)
    assert clock.lag.lateness.max == pytest.approx(0.4)
    assert clock.lag.lateness.p99 == pytest.approx(0.4)
    assert clock.overloaded == []


def test_a_loop_that_is_too_late_begins_nothing_until_it_has_recovered(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    clock.beats(1, late=1.5)
    assert clock.overloaded == [True]
    clock.beats(CALM - 1)
    assert clock.overloaded == [True]
    clock.beats(1)
    assert clock.overloaded == [True, False]
    said = [record.getMessage() for record in caplog.records]
    assert "nothing new is begun (ms=1500)" in said[0]
    assert "keeps its time again" in said[-1]


def test_a_late_loop_is_told_of_at_most_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    clock.beats(1, late=0.2)
    clock.beats(20, late=0.3)
    assert [record.getMessage() for record in caplog.records] == ["the event loop was held (count=1, ms=200)"]
    clock.beats(round(TELL_S / BEAT_S))
    assert [record.getMessage() for record in caplog.records][1:] == ["the event loop was held (count=20, ms=300)"]
    clock.beats(round(2 * TELL_S / BEAT_S), late=0.09)
    assert len(caplog.records) == 2


async def test_a_late_server_begins_nothing_and_goes_on_with_what_it_has(make_site: MakeSite) -> None:
    gate = Gate()
    site = await make_site(Scripted(["One, ", gate, "two."]), timeouts=Timeouts(lag_told=1e9))
    socket, idle = await opened(site), await opened(site)
    socket.send(json.dumps(SAY))
    await socket.until("content")
    house, now = site.gateway.house, asyncio.get_running_loop().time()
    house.beat(now)
    house.beat(now + BEAT_S + 2)
    _, handshake = await site.shake_hands()
    assert (handshake.status, (await handshake.json())["error"]["code"]) == (503, "overloaded")
    assert handshake.header("retry-after")
    assert (await site.post(STREAM, SAY)).status == 503
    idle.send(json.dumps(SAY))
    rejected = await idle.until("accepted", "rejected")
    assert rejected["code"] == "overloaded"
    ready = await site.get("/readyz")
    assert ready.status == 503
    body = await ready.json()
    assert (body["status"], body["lag_ms"]["last"], body["lag_ms"]["max"]) == ("not ready", 2000, 2000)
    socket.send(json.dumps({"message": "and?", "when_busy": "steer", "id": "c2"}))
    assert (await socket.until("accepted", "rejected"))["type"] == "accepted", "it goes to what is going"
    gate.set()
    assert (await socket.until("content"))["data"] == "two."
    for beat in range(1, CALM + 1):
        house.beat(now + BEAT_S + 2 + beat * BEAT_S)
    assert (await site.get("/readyz")).status == 200
    idle.send(json.dumps(SAY))
    assert (await idle.until("accepted", "rejected"))["type"] == "accepted"
