"""A session's log as a recording: it is played like one that was made between a client and a server."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from live import serving
from talking import Person, agent, dial
from wire import DEADLINE_S, eventually

from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.events import (
    Content,
    Done,
    Event,
    Interrupted,
    Request,
    Resolved,
    SectionEnd,
    SectionStart,
    Seen,
    Settled,
    Start,
    ToolResult,
    ToolStart,
    User,
)
from agent_ws.log import Epoch
from agent_ws.recording import Closed, File, FromClient, FromServer, Recording, read
from agent_ws.recordings import Again, Notes, Replay, Url, log, watch
from agent_ws.stores import Record, Saved, open_store


def saved(*events: Event) -> Saved:
    stamped = [msgspec.structs.replace(event, seq=seq, run=event.run or "r1") for seq, event in enumerate(events, 1)]
    return Saved(Record("s1", "me", "hash", 5.0), (Epoch("e1", 1),), tuple(stamped))


def told(*events: Event) -> list[Any]:
    """What the recording has, in short: what the client says, and the types of what it is told."""
    return [
        line.value if isinstance(line, FromClient) else line.value["type"]
        for line in log.lines(saved(*events))
        if isinstance(line, FromClient | FromServer)
    ][2:]


HI = User("c1", "hi", at=10.0)


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        (
            [HI, Start(at=10.0), Content("Hi."), Done(at=11.0), Settled("finished", at=11.0), Seen(2)],
            [
                {"type": "message", "data": "hi", "id": "c1"},
                *["user", "accepted", "start", "content", "done", "settled"],
                {"type": "interrupt", "run": "r1", "seen": 2},
                "seen",
            ],
        ),
        (
            [HI, Start(), ToolStart("t", "find"), SectionStart("s"), ToolResult("t", "interrupted"),
             SectionEnd("s", "interrupted"), Interrupted(reason="barge_in", seen=3)],
            [
                {"type": "message", "data": "hi", "id": "c1"},
                *["user", "accepted", "start", "tool_start", "section_start"],
                {"type": "interrupt", "run": "r1", "reason": "barge_in", "seen": 3},
                *["tool_result", "section_end", "interrupted"],
            ],
        ),
        (
            [HI, Start(), Request("q", "approval"), Interrupted(reason="orphaned")],
            [{"type": "message", "data": "hi", "id": "c1"}, "user", "accepted", "start", "request", "interrupted"],
        ),
        (
            [HI, Start(), Resolved("q", "cancelled"), Interrupted(reason="superseded"), User("c2", "ho", run="r2")],
            [
                {"type": "message", "data": "hi", "id": "c1"},
                *["user", "accepted", "start"],
                {"type": "message", "data": "ho", "id": "c2", "when_busy": "interrupt"},
                *["resolved", "interrupted", "user", "accepted"],
            ],
        ),
        (
            [HI, Start(), Request("q", "question"), Resolved("q", "replied", {"text": "yes"}), SectionStart("s"),
             SectionEnd("s", "skipped"), User("c2", "more", steer=True), Done(), User("c2", "more", run="r2")],
            [
                {"type": "message", "data": "hi", "id": "c1"},
                *["user", "accepted", "start", "request"],
                {"type": "reply", "request": "q", "data": {"text": "yes"}},
                *["resolved", "section_start"],
                {"type": "interrupt", "run": "r1", "section": "s"},
                "section_end",
                {"type": "message", "data": "more", "id": "c2", "when_busy": "steer"},
                *["user", "accepted", "done", "user", "accepted"],
            ],
        ),
        (
            [HI, Start(), Interrupted(), User("c2", "", run="r2", continues="r1")],
            [
                {"type": "message", "data": "hi", "id": "c1"},
                *["user", "accepted", "start"],
                {"type": "interrupt", "run": "r1"},
                "interrupted",
                {"type": "message", "data": "", "id": "c2", "continues": "r1"},
                *["user", "accepted"],
            ],
        ),
    ],
)  # fmt: skip
def test_what_the_client_did_stands_before_what_came_of_it(events: Sequence[Event], lines: list[Any]) -> None:
    assert told(*events) == lines


def test_a_message_that_waits_is_told_so() -> None:
    made = log.lines(saved(HI, Start(), User("c2", "ho", run="r2"), Done(), User("c3", "hu", run="r3")))
    outcomes = [line.value["outcome"] for line in made if isinstance(line, FromServer) and "outcome" in line.value]
    assert outcomes == ["started", "queued", "queued"]


def test_text_comes_evenly_between_what_has_a_time() -> None:
    words = [Content("a", agent=str(n)) for n in range(3)]
    made = log.lines(saved(HI, Start(at=11.0), *words, Done(at=15.0), Seen(1)))
    times = [line.t for line in made if isinstance(line, FromServer) and "seq" in line.value]
    assert times == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0]


def test_a_clock_that_was_set_back_stops_no_recording(tmp_path: Path) -> None:
    made = log.lines(saved(HI, Start(at=3.0), Content("a"), Done(at=11.0)))
    with File(tmp_path / "r", "log", 10.0) as file:
        file.add(made)
    assert [line.t for line in read(tmp_path / "r").lines][-3:] == [0.5, 1.0, 1.0]


def test_a_session_in_which_nothing_was_said_is_a_recording() -> None:
    made = log.lines(Saved(Record("s1", "me", "hash", 5.0), (), ()))
    assert [type(line).__name__ for line in made] == ["Opened", "FromClient", "FromServer", "Closed"]
    assert log.begun(Saved(Record("s1", "me", "hash", 5.0), (), ())) == 5.0


@pytest.fixture
async def taken(tmp_path: Path) -> Recording:
    """A session of the real server, out of its store."""
    url = f"sqlite:{tmp_path}/test.db"
    async with serving(agent, store=url) as site, dial(site.port) as socket:
        person = Person(socket)
        await person.send(type="hello")
        session = await person.until("session")
        await person.send(type="message", data="ask", id="c1")
        request = await person.until("request")
        await person.send(type="reply", request=request["request"], data={"approved": True})
        await person.until("settled")
        await person.send(type="message", data="hang", id="c2")
        await person.until("content")
        await person.send(type="message", data="hi", id="c3", when_busy="interrupt")
        await person.until("done")
        await person.until("settled")
    store = open_store(url)
    await store.open()
    found = await store.load(session["session"])
    await store.close()
    assert found is not None
    with File(tmp_path / "log", "log", log.begun(found)) as file:
        file.add(log.lines(found))
    return read(tmp_path / "log")


async def test_a_log_is_played_to_a_server(taken: Recording) -> None:
    async with serving(agent) as site, asyncio.timeout(DEADLINE_S):
        assert await Again(taken, Url("127.0.0.1", site.port), speed=math.inf).run() == []


async def test_a_log_is_played_to_a_client(taken: Recording) -> None:
    departed: list[str] = []
    async with Replay(taken, departed.append, speed=math.inf, host="127.0.0.1", port=0) as replay:
        async with dial(replay.port) as socket:
            person = Person(socket)
            await person.send(type="message", data="ask", id="mine")
            request = await person.until("request")
            await person.send(type="reply", request=request["request"], data={"approved": True})
            await person.until("settled")
            await person.send(type="message", data="hang")
            await person.until("content")
            await person.send(type="message", data="hi", when_busy="interrupt")
            await person.until("interrupted")
            await person.until("done")
            await person.until("settled")
        assert departed == []


async def test_the_agent_of_a_log_is_played(taken: Recording) -> None:
    agent = Scripted.recorded(taken.path, speed=math.inf)
    async with serving(agent) as site, asyncio.timeout(DEADLINE_S):
        assert await Again(taken, Url("127.0.0.1", site.port), speed=math.inf).run() == []


# Looking on


async def test_a_session_is_recorded_by_who_looks_on(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(Scripted(["Hello ", gate, "world"])) as site, dial(site.port) as socket:
        person = Person(socket)
        await person.send(type="hello")
        session = await person.until("session")
        await person.send(type="message", data="hi", id="c1")
        await person.until("content")
        with File(tmp_path / "w", "watch", 1.5) as file:
            notes = Notes(file, lambda _: None)
            watching = asyncio.create_task(
                watch(Url("127.0.0.1", site.port), session["session"], session["token"], notes)
            )
            await eventually(lambda: len(read(tmp_path / "w").lines) > 5)
            gate.set()
            await eventually(
                lambda: any(isinstance(line, FromServer) and line.value["type"] == "settled"
                            for line in read(tmp_path / "w").lines)
            )  # fmt: skip
            watching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watching
    recording = read(tmp_path / "w")
    assert session["token"] not in (tmp_path / "w").read_text()
    text = "".join(
        line.value["data"]
        for line in recording.lines
        if isinstance(line, FromServer) and line.value["type"] == "content"
    )
    assert text == "Hello world"
    closed = recording.lines[-1]
    assert isinstance(closed, Closed)
    assert (closed.by, closed.code) == ("client", 1000)
    assert len(recording.lines) == file.lines


async def test_who_looks_on_sees_the_end(tmp_path: Path) -> None:
    with File(tmp_path / "w", "watch", 1.5) as file:
        notes = Notes(file, lambda _: None)
        async with serving(Scripted(["Hi."])) as site:
            async with dial(site.port) as socket:
                person = Person(socket)
                await person.send(type="hello")
                session = await person.until("session")
            watching = asyncio.create_task(
                watch(Url("127.0.0.1", site.port), session["session"], session["token"], notes)
            )
            await eventually(lambda: file.lines == 3)
            await site.gateway.drain()
            await asyncio.wait_for(watching, DEADLINE_S)
    closed = read(tmp_path / "w").lines[-1]
    assert isinstance(closed, Closed)
    assert (closed.by, closed.code) == ("server", 4503)


async def test_a_session_of_somebody_else_is_told(tmp_path: Path) -> None:
    async with serving(Scripted(["Hi."])) as site:
        with File(tmp_path / "w", "watch", 1.5) as file:
            notes = Notes(file, lambda _: None)
            with pytest.raises(ValueError, match="expected a session of this token's, got 's1'"):
                await watch(Url("127.0.0.1", site.port), "s1", "t1", notes)
        assert file.lines == 0
