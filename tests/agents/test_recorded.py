"""The scripted agent plays recordings: what another agent did, at the same moments, without that one."""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agent_ws.agents.scripted import Ask, Hear, Raise, Report, Scripted, Wait
from agent_ws.errors import RunError
from agent_ws.events import (
    Content,
    Event,
    Interrupted,
    Request,
    SectionEnd,
    Settled,
    Start,
    Status,
    ToolResult,
    Usage,
    User,
)
from agent_ws.fold import merge
from agent_ws.recording import Closed, File, FromServer, Line, Opened, Unreadable, form
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.turn import Agent, Turn

pytestmark = pytest.mark.virtual

Told = list[tuple[float, Event]]


async def provider(turn: Turn) -> None:
    """All that an agent may do, with pauses."""
    await asyncio.sleep(1.5)
    turn.thinking("Hm.")
    async with turn.tool("find", {"name": turn.message}) as call:
        await asyncio.sleep(0.25)
        call.output = "3 files"
    turn.outline(s1="One")
    async with turn.section("s1", "One") as section:
        section.content("In it.")
    turn.content("Before. ")
    if await turn.ask("approval", "Go on?", data={"files": 3}):
        await asyncio.sleep(0.5)
        turn.content("Allowed. ")
    turn.content(f"Heard: {await turn.wait_steered()}")
    turn.take_back(3)
    turn.report(Usage(output_tokens=7), "end_turn")


async def served(agent: Agent, act: Callable[[Session], Any], messages: int = 1) -> Told:
    """The log of a session with the agent, and when each event came. `act` is called at each event."""
    told: Told = []
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        began = asyncio.get_running_loop().time()

        def appended() -> None:
            for event in session.log.read(len(told)):
                told.append((asyncio.get_running_loop().time() - began, event))

        session.log.watch(appended)
        for n in range(messages):
            await session.say(f"message {n}")
            seen = 0
            while session.busy:
                if seen == len(told):
                    await session.log.wait(session.log.tail)
                    continue
                seen += 1
                if isinstance(told[seen - 1][1], Request):
                    await act(session)
    return told


async def replies(session: Session) -> None:
    """Somebody who takes 4 s to allow it, and says more 2 s later."""
    await asyncio.sleep(4)
    request = next(event for event in session.log.read(0) if isinstance(event, Request))
    session.reply(request.request, {"approved": True})
    await asyncio.sleep(2)
    await session.say("and more", when_busy="steer")


async def nothing(_: Session) -> None:
    pass


def frame(value: Any) -> dict[str, Any]:
    return form(msgspec.json.encode(value).decode(), binary=False)


def recorded(path: Path, *logs: Told) -> Path:
    """As a proxy had recorded a client that is there from the start."""
    with File(path, "proxy", 0.0) as file:
        for c, told in enumerate(logs, 1):
            shift = 100.0 * c
            session = {"type": "session", "session": f"s{c}", "epoch": "e"}
            file.add([Opened(shift, c, "/ws"), FromServer(shift, c, **frame(session))])
            file.add([FromServer(shift + t, c, **frame(event)) for t, event in told])
            file.add([Closed(shift + 99, c, "client", 1000)])
    return path


def plain(told: Told) -> list[Event]:
    """The log without what differs each time."""
    bare: list[Event] = []
    for event in merge([event for _, event in told]):
        names: dict[str, Any] = {
            "request": "q",
            "id": "c",
            "tool": "t",
            "stop_ms": 0,
            "chunks": 0,
            "tools": {},
            "expires": 0.0,
        }
        there = {name: value for name, value in names.items() if name in event.__struct_fields__}
        at = {"at": 0.0} if "at" in event.__struct_fields__ else {}
        bare.append(replace(event, seq=0, run="r", **there, **at))
    return bare


async def test_it_does_what_the_recorded_agent_did_at_the_same_moments(tmp_path: Path) -> None:
    was = await served(provider, replies)
    assert any(isinstance(event, Status) and event.state == "steered" for _, event in was)
    agent = Scripted.recorded(recorded(tmp_path / "r", was))
    now = await served(agent, replies)
    assert plain(now) == plain(was)
    times = [(t, type(event)) for t, event in was if not isinstance(event, Content)]
    assert [(pytest.approx(t, abs=0.01), kind) for t, kind in times] == [
        (t, type(event)) for t, event in now if not isinstance(event, Content)
    ]


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 1.5 + 0.25 + 4 + 2), (5.0, 0.35 + 4 + 2), (math.inf, 6.0)])
async def test_its_pauses_are_scaled_and_the_users_are_the_users(tmp_path: Path, speed: float, seconds: float) -> None:
    was = await served(provider, replies)
    now = await served(Scripted.recorded(recorded(tmp_path / "r", was), speed=speed), replies)
    assert plain(now) == plain(was)
    assert now[-1][0] == pytest.approx(seconds, abs=0.02)


async def test_each_run_is_a_script_in_the_order_of_the_recording(tmp_path: Path) -> None:
    one = await served(Scripted(["one"], ["two"]), nothing, messages=2)
    other = await served(Scripted(["three"]), nothing)
    now = await served(Scripted.recorded(recorded(tmp_path / "r", one, other)), nothing, messages=4)
    assert [event.data for _, event in now if isinstance(event, Content)] == ["one", "two", "three", "three"]


async def test_a_failure_fails_the_same_way(tmp_path: Path) -> None:
    async def failing(turn: Turn) -> None:
        turn.content("Half")
        async with turn.tool("find"):
            await asyncio.sleep(1)
            raise RunError("The model is busy.", code="provider_error")

    was = await served(failing, nothing)
    agent = Scripted.recorded(recorded(tmp_path / "r", was))
    assert plain(await served(agent, nothing)) == plain(was)


async def test_a_run_that_was_stopped_stands_where_it_was_until_it_is_stopped_again(tmp_path: Path) -> None:
    async def long(turn: Turn) -> None:
        turn.content("Some ")
        async with turn.section("s1", "One"), turn.tool("find"):
            turn.content("words.")
            await asyncio.sleep(30)

    async def stopped(agent: Agent) -> Told:
        async with Sessions(agent, Settings()) as sessions:
            session, _ = await sessions.create("me")
            await session.say("hi")
            while not any(isinstance(event, Content) and "words" in event.data for event in session.log.read(0)):
                await session.log.wait(session.log.tail)
            await asyncio.sleep(20)
            assert not any(isinstance(event, ToolResult | SectionEnd) for event in session.log.read(0)), "not yet"
            session.interrupt()
            while session.busy:
                await session.log.wait(session.log.tail)
            return [(0.0, event) for event in session.log.read(0)]

    was = await stopped(long)
    assert any(isinstance(event, Interrupted) for _, event in was)
    assert plain(await stopped(Scripted.recorded(recorded(tmp_path / "r", was)))) == plain(was)


EVENTS: list[Event] = [
    Start(seq=1, run="r1"),
    Content("one ", seq=2, run="r1"),
    Content("two ", seq=3, run="r1"),
    Content("three", seq=4, run="r1"),
    Settled("finished", seq=5, run="r1"),
]


def lines(*told: tuple[int, Event]) -> list[Line]:
    return [FromServer(1.0, c, **frame(event)) for c, event in told]


def opened(c: int) -> list[Line]:
    return [Opened(1.0, c, "/ws"), FromServer(1.0, c, **frame({"type": "session", "session": "s", "epoch": "e"}))]


LOST: list[Line] = [Closed(1.0, 1, "client", 1006)]


@pytest.mark.parametrize(
    "recording",
    [
        [*opened(1), *lines(*[(1, event) for event in EVENTS])],
        [*opened(1), *opened(2), *lines(*[(c, event) for event in EVENTS for c in (1, 2)])],
        [*opened(1), *opened(2), *lines((1, EVENTS[0]), (2, EVENTS[0]), (1, EVENTS[1]),
         (2, Content("one two ", seq=3, run="r1")), *[(c, event) for event in EVENTS[2:] for c in (1, 2)])],
        [*opened(1), *lines((1, EVENTS[0]), (1, EVENTS[1])), *LOST, *opened(2),
         *lines(*[(2, event) for event in EVENTS[1:]])],
        [*opened(1), *lines((1, EVENTS[0]), (1, EVENTS[1]), (1, EVENTS[2])),
         FromServer(1.0, 1, **frame({"type": "reset", "epoch": "e2", "reason": "ahead"})),
         *lines(*[(1, event) for event in EVENTS])],
    ],
    ids=["one client", "two", "two with other cuts", "one that came back", "a reset"],
)  # fmt: skip
async def test_what_was_seen_is_played_once(recording: list[Line], tmp_path: Path) -> None:
    with File(tmp_path / "r", "proxy", 0.0) as file:
        file.add(recording)
    now = await served(Scripted.recorded(tmp_path / "r"), nothing)
    assert "".join(event.data for _, event in now if isinstance(event, Content)) == "one two three"


async def test_runs_are_in_the_order_of_their_beginnings(tmp_path: Path) -> None:
    """A message may have waited, in another session."""
    other = [Opened(1.0, 2, "/ws"), FromServer(1.0, 2, **frame({"type": "session", "session": "s2", "epoch": "e"}))]
    waits, begins = User("c1", "hi", seq=1, run="r1"), Start(seq=2, run="r1")
    with File(tmp_path / "r", "proxy", 0.0) as file:
        file.add([*opened(1), *other, *lines((1, waits), (2, waits))])
        file.add([FromServer(2.0, 2, **frame(begins)), FromServer(3.0, 1, **frame(begins))])
        file.add([FromServer(4.0, c, **frame(Content(f"{c}", seq=3, run="r1"))) for c in (1, 2)])
    now = await served(Scripted.recorded(tmp_path / "r"), nothing, messages=2)
    assert [event.data for _, event in now if isinstance(event, Content)] == ["2", "1"]


async def test_a_recording_without_an_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in which an agent begins to answer"):
        Scripted.recorded(recorded(tmp_path / "r"))
    (tmp_path / "x").write_text("no recording\n")
    with pytest.raises(Unreadable, match="line 1"):
        Scripted.recorded(tmp_path / "x")
    with pytest.raises(ValueError, match="a speed above 0"):
        Scripted.recorded(tmp_path / "r", speed=0)


async def test_an_event_that_nobody_knows_is_told_with_its_line(tmp_path: Path) -> None:
    with File(tmp_path / "r", "proxy", 0.0) as file:
        file.add([*opened(1), FromServer(1.0, 1, **frame({"type": "dance", "seq": 1, "run": "r1"}))])
    with pytest.raises(ValueError, match="r, line 4: expected an event"):
        Scripted.recorded(tmp_path / "r")


async def test_the_steps_beside_events_do_what_they_say() -> None:
    script = [Ask("approval", "Go on?"), Wait(1), Hear(), Report(Usage(output_tokens=1)), Raise(RunError("no"))]
    now = await served(Scripted(script), replies)
    kinds = [type(event).__name__ for _, event in now]
    assert kinds == ["User", "Start", "Request", "Resolved", "User", "Status", "Error", "Settled"]
