"""A recording on the stage, without sockets and without waiting: what is played, when, and what who departs is told."""

import json
import math
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_ws.frames import JSON, MSGPACK, Codec
from agent_ws.recording import Closed, FromClient, FromServer, Header, Line, Opened, Recording, Refused, form
from agent_ws.recordings.stage import Close, Part, Say, Stage, Step, Wait

Frame = dict[str, Any]
HELLO: Frame = {"type": "hello"}
SESSION: Frame = {"type": "session", "session": "s1", "token": "secret-1", "epoch": "e1", "after": 0}
MESSAGE: Frame = {"type": "message", "data": "hi", "id": "c1"}
USER: Frame = {"type": "user", "seq": 1, "run": "r1", "id": "c1", "data": "hi"}
ACCEPTED: Frame = {"type": "accepted", "id": "c1", "run": "r1", "outcome": "started"}
DONE: Frame = {"type": "done", "seq": 9, "run": "r1"}


def text(seq: int) -> Frame:
    return {"type": "content", "seq": seq, "run": "r1", "data": f"word {seq}"}


def client(t: float, frame: Frame | str, c: int = 1) -> FromClient:
    message = frame if isinstance(frame, str) else json.dumps(frame)
    return FromClient(t, c, **form(message, binary=False))


def server(t: float, frame: Frame, c: int = 1) -> FromServer:
    return FromServer(t, c, **form(json.dumps(frame), binary=False))


TALK = (
    Opened(1.0, 1, "/ws"),
    client(1.0, HELLO),
    server(1.0, SESSION),
    client(3.0, MESSAGE),
    server(3.1, USER),
    server(3.2, ACCEPTED),
    server(4.0, text(3)),
    server(5.0, text(4)),
    client(6.0, {"type": "interrupt"}),
    server(6.1, DONE),
    Closed(7.0, 1, "client", 1000),
)


class Play:
    """A stage, with the clock in hand."""

    def __init__(self, *lines: Line, speed: float = 1.0) -> None:
        self.now = 100.0
        self.told: list[str] = []
        self.stage = Stage(Recording("r", Header(1, "agent-ws.v1", "proxy", 0.0), lines), speed, self.told.append)

    def connect(self, codec: Codec = JSON) -> Part:
        assert self.stage.refuses(self.now) is None
        part = self.stage.connect(codec, self.now)
        assert part is not None
        return part

    def hear(self, part: Part, frame: Frame | str) -> list[Step]:
        return self.stage.hear(part, frame if isinstance(frame, str) else json.dumps(frame), self.now)

    def said(self, part: Part) -> list[Frame]:
        """All that is due now."""
        said: list[Frame] = []
        while isinstance(step := self.stage.step(part, self.now), Say):
            message = step.message
            assert isinstance(message, bytes) is part.codec.binary
            said.append(json.loads(message) if isinstance(message, str) else msgspec.msgpack.decode(message))
        return said

    def until(self, part: Part) -> float | None:
        step = self.stage.step(part, self.now)
        assert isinstance(step, Wait)
        return step.until


@pytest.mark.parametrize("speed", [1.0, 4.0, 0.5])
def test_it_is_played_at_the_recorded_pace(speed: float) -> None:
    play = Play(*TALK, speed=speed)
    part = play.connect()
    assert play.said(part) == []
    play.hear(part, HELLO)
    assert play.said(part) == [SESSION]
    play.now += 50
    assert (play.said(part), play.until(part)) == ([], None), "the message is the client's to send"
    play.hear(part, MESSAGE)
    for after, frame in ((0.1, USER), (0.2, ACCEPTED), (1.0, text(3)), (2.0, text(4))):
        assert play.said(part) == []
        assert play.until(part) == pytest.approx(150 + after / speed)
        play.now = (play.until(part) or 0) + 1e-9
        assert play.said(part) == [frame]


def test_max_waits_for_the_client_alone() -> None:
    play = Play(*TALK, speed=math.inf)
    part = play.connect()
    play.hear(part, HELLO)
    play.hear(part, MESSAGE)
    assert play.said(part) == [SESSION, USER, ACCEPTED, text(3), text(4)]
    assert play.until(part) is None
    play.hear(part, {"type": "interrupt"})
    assert play.said(part) == [DONE]


def test_who_is_early_gets_what_comes_before_at_once() -> None:
    play = Play(*TALK)
    part = play.connect()
    play.hear(part, HELLO)
    play.hear(part, MESSAGE)
    play.hear(part, {"type": "interrupt"})
    assert play.said(part) == [SESSION, USER, ACCEPTED, text(3), text(4)]
    assert play.until(part) == pytest.approx(100.1)
    assert not play.stage.departures


def test_who_does_something_else_is_told_and_nothing_happens() -> None:
    play = Play(*TALK)
    part = play.connect()
    play.hear(part, HELLO)
    play.said(part)
    for other in ({"type": "interrupt", "token": "canary"}, {"type": "message", "data": "ho", "id": "c1"}, "no frame"):
        [step] = play.hear(part, other)
        assert isinstance(step, Say)
        error = json.loads(step.message)
        assert (error["type"], error["code"]) == ("error", "bad_frame")
        assert 'expected {"type":"message","data":"hi","id":"c1"}, got ' in error["message"]
        assert play.said(part) == []
    assert play.told[0] == (
        'r, line 5 (connection 1): expected {"type":"message","data":"hi","id":"c1"}, got {"type":"interrupt"}'
    )
    assert "canary" not in "".join(play.told)
    assert play.stage.departures == 3
    play.hear(part, MESSAGE)
    play.now += 0.15
    assert play.said(part) == [USER]


def test_the_tenth_departure_closes() -> None:
    play = Play(*TALK)
    part = play.connect()
    play.hear(part, HELLO)
    for _ in range(9):
        assert len(play.hear(part, "[]")) == 1
    assert play.hear(part, "[]")[1:] == [Close(4400, "bad_frame")]


def test_a_stranger_is_sent_away_and_another_may_play() -> None:
    play = Play(*TALK)
    [said, close] = play.hear(play.connect(), HELLO | {"session": "s9", "token": "canary"})
    assert isinstance(said, Say)
    assert json.loads(said.message)["code"] == "session_not_found"
    assert close == Close(4404, "session_not_found")
    part = play.connect()
    play.hear(part, HELLO)
    assert play.said(part) == [SESSION]


def test_a_client_may_have_names_of_its_own() -> None:
    play = Play(*TALK, speed=math.inf)
    part = play.connect()
    play.hear(part, HELLO | {"when_busy": "queue", "chunk": "word"})
    play.hear(part, MESSAGE | {"id": "mine"})
    assert play.said(part)[1:3] == [USER | {"id": "mine"}, ACCEPTED | {"id": "mine"}]
    assert not play.stage.departures


def test_a_client_may_have_a_name_where_the_recorded_one_had_none() -> None:
    lines = [client(line.t, {"message": "hi"}) if line is TALK[3] else line for line in TALK]
    play = Play(*lines, speed=math.inf)
    part = play.connect()
    play.hear(part, HELLO)
    play.hear(part, MESSAGE | {"id": "mine"})
    assert play.said(part)[1:3] == [USER | {"id": "mine"}, ACCEPTED | {"id": "mine"}]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_message_stands_for_a_hello_too(*, recorded: bool) -> None:
    """Whichever of the two clients leaves it out."""
    short = {"message": "hi", "id": "c1"}
    lines = [TALK[0], client(1.0, short), TALK[2], *TALK[4:]] if recorded else TALK
    play = Play(*lines, speed=math.inf)
    part = play.connect()
    if recorded:
        play.hear(part, HELLO)
        assert play.said(part) == [SESSION]
        play.hear(part, MESSAGE)
        assert play.said(part)[:2] == [USER, ACCEPTED]
    else:
        play.hear(part, short)
        assert play.said(part)[:3] == [SESSION, USER, ACCEPTED]
    assert not play.stage.departures


PING: Frame = {"type": "ping", "data": "1"}
PONG: Frame = {"type": "pong", "data": "1"}
PINGED = (*TALK[:7], client(4.5, PING), server(4.6, PONG), *TALK[7:])


def test_a_ping_is_answered_at_any_time() -> None:
    play = Play(*TALK)
    part = play.connect()
    play.hear(part, HELLO)
    [step] = play.hear(part, {"type": "ping", "data": "7"})
    assert isinstance(step, Say)
    assert json.loads(step.message) == {"type": "pong", "data": "7"}
    assert not play.stage.departures


def test_a_recorded_ping_has_its_place() -> None:
    play = Play(*PINGED, speed=math.inf)
    part = play.connect()
    for frame in (HELLO, MESSAGE):
        play.hear(part, frame)
    assert play.said(part)[-1] == text(3)
    assert play.hear(part, PING | {"data": "mine"}) == []
    assert play.said(part) == [PONG | {"data": "mine"}, text(4)]


def test_a_recorded_ping_that_does_not_come_is_left_out() -> None:
    play = Play(*PINGED, speed=math.inf)
    part = play.connect()
    for frame in (HELLO, MESSAGE):
        play.hear(part, frame)
    assert play.said(part)[-1] == text(3)
    assert play.until(part) == pytest.approx(play.now + 1)
    play.now += 1
    assert play.said(part) == [text(4)]
    [late] = play.hear(part, PING)
    assert isinstance(late, Say)
    assert json.loads(late.message) == PONG


def test_who_sends_no_ping_is_not_held_up() -> None:
    play = Play(*PINGED, speed=math.inf)
    part = play.connect()
    for frame in (HELLO, MESSAGE, {"type": "interrupt"}):
        play.hear(part, frame)
    assert play.said(part) == [SESSION, USER, ACCEPTED, text(3), text(4), DONE]


def test_the_other_subprotocol_gets_the_same_frames() -> None:
    play = Play(*TALK, speed=math.inf)
    part = play.connect(MSGPACK)
    for frame in (HELLO, MESSAGE):
        play.stage.hear(part, msgspec.msgpack.encode(frame), play.now)
    assert play.said(part) == [SESSION, USER, ACCEPTED, text(3), text(4)]


def test_a_handshake_is_refused_as_it_was() -> None:
    play = Play(Refused(0.0, 1, "/ws", 503), *[msgspec.structs.replace(line, c=2) for line in TALK])
    assert play.stage.refuses(play.now) == 503
    part = play.connect()
    assert part.c == 2
    assert play.stage.refuses(play.now) == 503, "there are no more"
    assert play.stage.connect(JSON, play.now) is None


def test_what_one_client_is_sent_waits_for_what_another_has_done() -> None:
    lines = (
        Opened(0, 1, "/ws"),
        client(0, HELLO),
        Opened(1, 2, "/ws"),
        client(1, HELLO | {"session": "s1", "token": "secret-1"}, 2),
        server(1, SESSION, 1),
        server(1, SESSION, 2),
        client(2, MESSAGE, 2),
        server(2, USER, 1),
        server(2, USER, 2),
    )
    play = Play(*lines, speed=math.inf)
    first = play.connect()
    play.hear(first, HELLO)
    assert play.said(first) == []
    assert play.stage.waits_for(first) == "r, line 4: connection 1 waits for connection 2 to be opened"
    play.hear(play.connect(), HELLO)  # who is sent away has opened nothing
    assert play.said(first) == []
    second = play.connect()
    play.hear(second, HELLO | {"session": "s1", "token": "secret-1"})
    assert (play.said(first), play.said(second)) == ([SESSION], [SESSION])
    assert play.stage.waits_for(first).endswith(
        'line 8: connection 1 waits for connection 2 to send {"type":"message","data":"hi","id":"c1"}'
    )
    play.stage.leave(second, play.now)
    assert play.said(first) == [USER], "who has gone is not waited for"
    assert play.stage.departures == 2


@pytest.mark.parametrize("code", [1006, 4503])
def test_a_close_of_the_servers_comes_in_its_time(code: int) -> None:
    play = Play(*TALK[:3], Closed(2.0, 1, "server", code, "why"))
    part = play.connect()
    play.hear(part, HELLO)
    assert play.said(part) == [SESSION]
    assert play.until(part) == pytest.approx(101)
    play.now += 1
    assert play.stage.step(part, play.now) == Close(code, "why")
    play.stage.leave(part, play.now)
    assert play.stage.over
    assert not play.stage.departures


def test_who_leaves_early_is_told_of() -> None:
    play = Play(*TALK, speed=math.inf)
    part = play.connect()
    play.hear(part, HELLO)
    play.said(part)
    play.stage.leave(part, play.now)
    assert play.told == [
        'r, line 5 (connection 1): expected {"type":"message","data":"hi","id":"c1"}, got the end of the connection'
    ]
    assert play.stage.over


def test_who_leaves_in_time_is_not() -> None:
    play = Play(*TALK, speed=math.inf)
    part = play.connect()
    for frame in (HELLO, MESSAGE, {"type": "interrupt"}):
        play.hear(part, frame)
    play.said(part)
    assert not play.stage.over
    play.stage.leave(part, play.now)
    assert (play.stage.over, play.told) == (True, [])


@pytest.mark.parametrize(("after", "departures"), [(5, 0), (7, 0), (4, 1), (None, 1)])
def test_who_comes_back_with_less_would_miss_something(after: int | None, departures: int) -> None:
    back = HELLO | {"session": "s1", "epoch": "e1"}
    play = Play(Opened(0, 1, "/ws"), client(0, back | {"after": 5}), server(0, SESSION))
    play.hear(play.connect(), back | {"after": after})
    assert play.stage.departures == departures


@st.composite
def recordings(draw: st.DrawFn) -> list[Line]:
    """Some connections, each with a few frames either way, mixed."""
    lines: list[Line] = []
    t = 0.0
    begun = 0
    open_: list[int] = []
    for n in range(draw(st.integers(1, 25))):
        t += draw(st.sampled_from([0.0, 0.1, 3.0]))
        kind = draw(st.sampled_from(["open", "client", "client", "server", "server", "server", "ping", "close"]))
        if kind == "open" or not open_:
            begun += 1
            open_.append(begun)
            lines.append(Opened(t, begun, "/ws"))
            continue
        c = draw(st.sampled_from(open_))
        match kind:
            case "client":
                said = any(isinstance(line, FromClient) and line.c == c for line in lines)
                frame = {"type": "message", "data": str(n), "id": str(n)} if said else HELLO
                lines.append(client(t, frame, c))
            case "server":
                lines.append(server(t, text(n), c))
            case "ping":
                said = any(isinstance(line, FromClient) and line.c == c for line in lines)
                if said:
                    lines += [
                        client(t, {"type": "ping", "data": str(n)}, c),
                        server(t, {"type": "pong", "data": str(n)}, c),
                    ]
            case _:
                open_.remove(c)
                lines.append(Closed(t, c, draw(st.sampled_from(["client", "server"])), 1000))
    return lines


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a machine may be busy
@given(lines=recordings(), seed=st.integers(), speed=st.sampled_from([1.0, 10.0, math.inf]))
def test_who_does_the_same_gets_the_same_byte_by_byte(lines: list[Line], seed: int, speed: float) -> None:
    """Each client does what the recorded one did, as soon as it has got what that one had got, or a little later."""
    play = Play(*lines, speed=speed)
    dice = Random(seed)
    got: dict[int, list[Line]] = {}
    parts: dict[int, Part] = {}
    for line in lines:
        if dice.random() < 0.2:
            play.now += dice.random() * 0.5
        match line:
            case Opened():
                parts[line.c], got[line.c] = play.connect(), []
            case FromClient():
                assert play.stage.hear(parts[line.c], line.message(binary=False), play.now) == []
            case FromServer() | Closed(by="server"):
                while isinstance(step := play.stage.step(parts[line.c], play.now), Wait):
                    assert step.until is not None
                    play.now = step.until + 1e-9
                if isinstance(line, FromServer):
                    assert step == Say(line.message(binary=False))
                else:
                    assert isinstance(line, Closed)
                    assert step == Close(line.code, line.reason)
            case _:
                play.stage.leave(parts[line.c], play.now)
    assert play.told == []
