"""The state table of a connection, cell by cell."""

from collections.abc import Sequence

import msgspec
import pytest

from agent_ws.connection import Close, Connection, Do, Effect, Open, Send, State
from agent_ws.frames import JSON, Continue, ErrorFrame, Hello, Interrupt, Pause, Pong, Rejected, Reply, Say
from agent_ws.settings import Limits

FRAMES: dict[str, object] = {
    "hello": {"type": "hello", "when_busy": "steer"},
    "message": {"type": "message", "data": "hi"},
    "short": {"message": "hi"},
    "interrupt": {"type": "interrupt"},
    "pause": {"type": "pause"},
    "continue": {"type": "continue"},
    "reply": {"type": "reply", "request": "q1", "data": 1},
    "ping": {"type": "ping", "data": "17"},
    "unknown": {"type": "dance"},
    "no object": [1],
}

OPENING: dict[str, tuple[list[Effect] | int, State]] = {
    "hello": ([Open(Hello(when_busy="steer"))], State.OPEN),
    "message": ([Open(Hello()), Do(Say("hi"))], State.OPEN),
    "short": ([Open(Hello()), Do(Say("hi"))], State.OPEN),
    "interrupt": (4400, State.CLOSED),
    "pause": (4400, State.CLOSED),
    "continue": (4400, State.CLOSED),
    "reply": (4400, State.CLOSED),
    "ping": (4400, State.CLOSED),
    "unknown": (4400, State.CLOSED),
    "no object": (4400, State.CLOSED),
}

IS_OPEN: dict[str, tuple[list[Effect] | int, State]] = {
    "hello": (4409, State.CLOSED),
    "message": ([Do(Say("hi"))], State.OPEN),
    "short": ([Do(Say("hi"))], State.OPEN),
    "interrupt": ([Do(Interrupt())], State.OPEN),
    "pause": ([Do(Pause())], State.OPEN),
    "continue": ([Do(Continue())], State.OPEN),
    "reply": ([Do(Reply("q1", 1))], State.OPEN),
    "ping": ([Send(Pong("17"))], State.OPEN),
    "unknown": ([], State.OPEN),
    "no object": ([], State.OPEN),
}


def new(*frames: str) -> Connection:
    connection = Connection(JSON, Limits())
    for name in frames:
        connection.receive(raw(name))
    return connection


def raw(name: str) -> str:
    return msgspec.json.encode(FRAMES[name]).decode()


def answers(effects: Sequence[Effect], expected: list[Effect] | int) -> None:
    if isinstance(expected, int):
        [closing] = effects
        assert isinstance(closing, Close)
        assert closing.error.close == expected
    elif expected:
        assert effects == expected
    else:  # it was not understood
        [answer] = effects
        assert isinstance(answer, Send)
        assert isinstance(answer.frame, ErrorFrame)
        assert answer.frame.code == "bad_frame"


@pytest.mark.parametrize("name", FRAMES)
def test_opening(name: str) -> None:
    connection = new()
    answers(connection.receive(raw(name)), OPENING[name][0])
    assert connection.state is OPENING[name][1]


@pytest.mark.parametrize("name", FRAMES)
def test_open(name: str) -> None:
    connection = new("message")
    answers(connection.receive(raw(name)), IS_OPEN[name][0])
    assert connection.state is IS_OPEN[name][1]


@pytest.mark.parametrize("name", FRAMES)
def test_closed(name: str) -> None:
    connection = new("hello", "hello")
    assert connection.receive(raw(name)) == []
    assert connection.timed_out() == []
    assert connection.state is State.CLOSED


def test_the_first_frame_must_come_in_time() -> None:
    connection = new()
    answers(connection.timed_out(), 4408)
    assert connection.state is State.CLOSED
    assert new("hello").timed_out() == []


def test_the_tenth_bad_frame_closes() -> None:
    connection = new("hello")
    for _ in range(Limits().bad_frames - 1):
        answers(connection.receive(raw("unknown")), [])
        answers(connection.receive(raw("ping")), IS_OPEN["ping"][0])  # good ones between do not matter
    answers(connection.receive(raw("unknown")), 4400)


@pytest.mark.parametrize("opened", [False, True])
def test_a_message_over_the_limit_closes(opened: bool) -> None:  # noqa: FBT001 - a parameter of a test
    limit = Limits().message_bytes
    frame = msgspec.json.encode({"message": "é" * limit}).decode()
    connection = new(*["hello"] * opened)
    answers(connection.receive(frame), 1009)
    fits = '{"message":"' + "a" * (limit - 14) + '"}'
    assert len(fits) == limit
    assert new().receive(fits)[0] == Open(Hello())


@pytest.mark.parametrize("name", FRAMES)
def test_beyond_the_rate_nothing_is_served_but_an_interrupt(name: str) -> None:
    connection = new("message")
    effects = connection.receive(raw(name), over=True)
    match name:
        case "interrupt":
            assert effects == [Do(Interrupt())]
        case "unknown" | "no object":
            answers(effects, IS_OPEN[name][0])
        case _:
            [answer] = effects
            assert isinstance(answer, Send)
            kind = Rejected if name in ("message", "short") else ErrorFrame
            assert isinstance(answer.frame, kind)
            assert answer.frame.code == "rate_limited"
    assert connection.state is State.OPEN


def test_a_refused_frame_is_told_by_its_name() -> None:
    connection = new("hello")
    [message] = connection.receive('{"message": "hi", "id": "c1"}', over=True)
    assert isinstance(message, Send)
    assert isinstance(message.frame, Rejected)
    assert message.frame.id == "c1"
    [reply] = connection.receive(raw("reply"), over=True)
    assert isinstance(reply, Send)
    assert isinstance(reply.frame, ErrorFrame)
    assert reply.frame.about == "q1"


@pytest.mark.parametrize("name", FRAMES)
def test_the_first_frame_is_never_beyond_the_rate(name: str) -> None:
    connection = new()
    answers(connection.receive(raw(name), over=True), OPENING[name][0])


def test_too_many_frames_beyond_the_rate_close() -> None:
    connection = new("hello")
    answers(connection.overrun(), 4429)
    assert connection.state is State.CLOSED
    assert connection.overrun() == []


def test_the_policy_of_hello_is_that_of_its_messages() -> None:
    connection = new("hello")
    assert connection.receive(raw("message")) == [Do(Say("hi", when_busy="steer"))]
    own = '{"message": "hi", "when_busy": "reject"}'
    assert connection.receive(own) == [Do(Say("hi", when_busy="reject"))]
