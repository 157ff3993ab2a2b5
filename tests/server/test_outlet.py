"""What leaves inside the append, what is gathered for a moment, and what is left to the writer."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from loop import VirtualLoop
from starlette.types import Message

from agent_ws import Settings, Turn
from agent_ws.cursor import Cursor, Hold
from agent_ws.errors import FrameError
from agent_ws.events import Content, Interrupted, Start, Status, User
from agent_ws.frames import JSON, MSGPACK, Codec, Pong
from agent_ws.server.outlet import BUSY_S, GATHER_S, LATE_S, Beat, Gone, Outlet
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.streams import ChunkMode
from agent_ws.turn import Agent

pytestmark = pytest.mark.virtual


class Wire:
    """A client's socket, seen from the server."""

    def __init__(self) -> None:
        self.room = 1_000_000
        """Writes that it takes at once."""
        self.pushed: list[Any] = []
        """What left at once."""
        self.writes: list[int] = []
        """In so many messages each."""
        self.sent: list[Any] = []
        """What waited for room."""
        self.close: tuple[int, str] | None = None
        self.emptied = asyncio.Event()
        self.lost = False

    def push(self, messages: Sequence[bytes], binary: bool) -> bool:  # noqa: FBT001 - the extension's form
        if self.room <= 0:
            return False
        self.room -= 1
        self.writes.append(len(messages))
        self.pushed.extend(data if binary else json.loads(data) for data in messages)
        return True

    async def send(self, message: Message) -> None:
        if self.lost:
            raise OSError
        if message["type"] == "websocket.close":
            self.close = (message["code"], message["reason"])
            return
        await self.emptied.wait()
        self.sent.append(json.loads(message["text"]) if "text" in message else message["bytes"])

    def texts(self) -> list[str]:
        """The text of each content frame that left at once."""
        return [frame["data"] for frame in self.pushed if frame["type"] == "content"]


class Line:
    """A session, and one client of it."""

    def __init__(self, session: Session, wire: Wire, outlet: Outlet, writing: asyncio.Task[None]) -> None:
        self.session = session
        self.wire = wire
        self.outlet = outlet
        self.writing = writing

    def text(self, *pieces: str) -> None:
        for piece in pieces:
            self.session.log.append_text(Content, "r1", piece, None, None)


async def nothing(_: Turn) -> None:
    """An agent."""


@asynccontextmanager
async def line(
    codec: Codec = JSON,
    chunk: ChunkMode = "token",
    limit: int = 8,
    *,
    chars: int = 0,
    ms: int = 0,
    push: bool = True,
    beat: Beat | None = None,
    agent: Agent = nothing,
) -> AsyncGenerator[Line]:
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        wire = Wire()
        outlet = Outlet(codec, wire.send, wire.push if push else None, beat or Beat(), limit)
        outlet.follow(session, Cursor(session.log, hold=Hold.of(chunk, chars, ms, asyncio.get_running_loop().time)))
        writing = asyncio.create_task(outlet.write(), name="writer")
        await asyncio.sleep(0.001)
        try:
            yield Line(session, wire, outlet, writing)
        finally:
            outlet.leave()
            writing.cancel()
            with suppress(asyncio.CancelledError, Gone):
                await writing


async def test_the_first_text_leaves_inside_the_append() -> None:
    async with line() as it:
        it.text("a")
        assert it.wire.texts() == ["a"]


async def test_what_follows_within_a_moment_leaves_merged_at_its_end() -> None:
    async with line() as it:
        it.text("a", "b", "c")
        await asyncio.sleep(GATHER_S * 0.9)
        it.text("d")
        assert it.wire.texts() == ["a"]
        await asyncio.sleep(GATHER_S * 0.2)
        assert it.wire.texts() == ["a", "bcd"]
        it.text("e")
        assert it.wire.texts() == ["a", "bcd"], "that left a moment ago"
        await asyncio.sleep(GATHER_S * 1.1)
        assert it.wire.texts() == ["a", "bcd", "e"]
        await asyncio.sleep(GATHER_S * 1.1)
        it.text("f")
        assert it.wire.texts() == ["a", "bcd", "e", "f"], "after a moment without any it is the first again"


async def be_late(it: Line, seconds: float) -> None:
    """Let the loop be so late with what was gathered."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    it.text("-", "-")
    loop.spend(GATHER_S + seconds)
    await asyncio.sleep(0.001)
    it.wire.pushed.clear()


async def test_in_a_busy_loop_all_that_an_agent_says_in_one_step_is_one_write() -> None:
    async with line() as it:
        await be_late(it, LATE_S)
        await asyncio.sleep(GATHER_S * 1.1)
        it.text("a", "b")
        it.session.log.read(0)  # the feed's
        it.text("c")
        assert it.wire.texts() == []
        await asyncio.sleep(0)
        assert it.wire.texts() == ["abc"], "without waiting for any time"
        it.text("d")
        await asyncio.sleep(0)
        assert it.wire.texts() == ["abc", "d"], "nor because some left a moment ago"


async def test_a_loop_that_is_a_little_late_is_not_busy_and_a_busy_one_recovers() -> None:
    async with line() as it:
        await be_late(it, LATE_S * 0.9)
        await asyncio.sleep(GATHER_S * 1.1)
        it.text("a")
        assert it.wire.texts() == ["a"]
        await asyncio.sleep(GATHER_S * 1.1)
        await be_late(it, LATE_S)
        await asyncio.sleep(BUSY_S)
        it.text("b")
        assert it.wire.texts() == ["b"]


async def test_in_a_busy_loop_text_leaves_when_the_next_client_s_comes() -> None:
    beat = Beat()
    async with line(beat=beat) as it, line(beat=beat) as other:
        await be_late(it, LATE_S)
        it.text("a")
        other.text("b")
        assert it.wire.texts() == ["a"], "it waits for no step but its agent's own"
        assert other.wire.texts() == []
        it.text("c")
        assert (it.wire.texts(), other.wire.texts()) == (["a"], ["b"])
        await asyncio.sleep(0)
        assert (it.wire.texts(), other.wire.texts()) == (["a", "c"], ["b"])


async def test_in_a_busy_loop_what_is_no_text_waits_for_nothing() -> None:
    async with line() as it:
        await be_late(it, LATE_S)
        it.text("a")
        it.session.log.append(Interrupted(reason="user", run="r1"))
        assert [frame["type"] for frame in it.wire.pushed] == ["content", "interrupted"]
        await asyncio.sleep(0.001)
        assert len(it.wire.pushed) == 2


async def test_in_a_busy_loop_who_has_left_is_sent_nothing() -> None:
    async with line() as it:
        await be_late(it, LATE_S)
        it.text("a")
        it.outlet.leave()
        await asyncio.sleep(0.001)
        assert it.wire.texts() == []


async def test_the_first_text_behind_something_else_waits_for_nothing() -> None:
    async with line() as it:
        it.session.log.append(Status("working", run="r1"))
        it.text("a")
        assert it.wire.texts() == ["a"]
        it.text("b")
        it.session.log.append(Status("working", run="r1"))
        it.text("c")
        assert it.wire.texts() == ["a", "b", "c"], "nor does it wait for what left before that"


async def test_what_left_with_something_else_does_not_hold_the_next_text() -> None:
    async with line() as it:
        it.text("a", "b")
        it.session.log.append(Status("working", run="r1"))
        await asyncio.sleep(GATHER_S * 1.1)
        it.text("c")
        assert it.wire.texts() == ["a", "b", "c"]


async def test_what_is_gathered_leaves_before_the_reason_of_a_close() -> None:
    async with line() as it:
        it.text("a", "b")
        it.outlet.close(FrameError("expected a, got b", code="conflict"))
        await asyncio.sleep(0.001)
        assert [frame["type"] for frame in it.wire.pushed] == ["content", "content", "error"]


async def test_nothing_leaves_for_who_has_left() -> None:
    async with line() as it:
        it.text("a", "b")
        it.outlet.leave()
        await asyncio.sleep(GATHER_S * 1.1)
        assert it.wire.texts() == ["a"]
        assert it.session.log.grows, "nor is it shown the log"


async def test_what_is_no_text_waits_for_nothing_and_takes_what_is_before_it_along() -> None:
    async with line() as it:
        it.text("a", "b")
        it.session.log.append(Status("working", run="r1"))
        assert [frame["type"] for frame in it.wire.pushed] == ["content", "content", "status"]
        assert it.wire.texts() == ["a", "b"]
        await asyncio.sleep(0.001)
        assert len(it.wire.pushed) == 3, "once"


def begin(it: Line, run: str) -> None:
    it.session.log.append(User(run, "Hello", run=run))
    it.session.log.append(Start(run=run))


async def test_what_a_run_begins_with_leaves_with_what_its_agent_writes_first() -> None:
    async with line() as it:
        begin(it, "r1")
        asyncio.get_running_loop().call_soon(it.text, "a", "b")
        assert it.wire.pushed == []
        await asyncio.sleep(0)
        assert [frame["type"] for frame in it.wire.pushed] == ["user", "start", "content"], "inside the append"
        assert it.wire.writes == [3], "and in one write"
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert it.wire.texts() == ["a"], "what follows is gathered"


async def test_what_a_run_begins_with_does_not_wait_for_an_agent_that_waits() -> None:
    async with line() as it:
        begin(it, "r1")
        for _ in range(3):
            await asyncio.sleep(0)
        assert [frame["type"] for frame in it.wire.pushed] == ["user", "start"]


async def test_what_a_run_begins_with_leaves_before_its_ending() -> None:
    async with line() as it:
        begin(it, "r1")
        it.session.log.append(Interrupted(run="r1"))
        assert [frame["type"] for frame in it.wire.pushed] == ["user", "start", "interrupted"], "inside the Stop"


async def test_the_first_text_of_a_run_waits_for_no_text_of_another() -> None:
    async with line() as it:
        it.text("a")
        begin(it, "r2")
        it.session.log.append_text(Content, "r2", "b", None, None)
        assert it.wire.texts() == ["a", "b"]


async def test_what_a_run_begins_with_is_not_for_who_has_left_or_paused() -> None:
    async with line() as it:
        begin(it, "r1")
        it.outlet.hold()
        await asyncio.sleep(0.001)
        assert it.wire.pushed == []
        it.outlet.release()
        await asyncio.sleep(0.001)
        assert [frame["type"] for frame in it.wire.pushed] == ["user", "start"]
        begin(it, "r2")
        it.outlet.leave()
        await asyncio.sleep(0.001)
        assert len(it.wire.pushed) == 2


async def test_a_full_socket_is_noticed_after_a_few_messages() -> None:
    async with line() as it:
        it.wire.room = 2
        for run in range(4):
            it.session.log.append(User(f"c{run}", "Hello", run=f"r{run}", steer=True))
            it.session.log.append(Start(run=f"r{run}"))
        it.session.log.append(Start(run="r9"))
        it.session.log.append(Start(run="r9"))
        it.text("a")
        assert it.wire.writes == [4, 4]
        it.wire.emptied.set()
        await asyncio.sleep(0.001)
        assert [frame["seq"] for frame in it.wire.pushed + it.wire.sent] == list(range(1, 12))


async def test_numbers_rise_and_nothing_is_lost_between_the_ways() -> None:
    async with line() as it:
        it.wire.emptied.set()
        for k in range(200):
            it.text(*"xyz"[: k % 3 + 1])
            it.wire.room = k % 4  # full now and then
            if k % 5 == 0:
                await asyncio.sleep(GATHER_S * (k % 7) / 5)
        it.wire.room = 1000
        it.text("!")
        await asyncio.sleep(GATHER_S * 1.1)
        text = "".join(e.data for e in it.session.log.read(0) if isinstance(e, Content))
        frames = sorted(it.wire.pushed + it.wire.sent, key=lambda frame: frame["seq"])
        assert "".join(frame["data"] for frame in frames) == text
        numbers = [frame["seq"] for frame in frames]
        assert len(set(numbers)) == len(numbers)
        pushed = [frame["seq"] for frame in it.wire.pushed]
        assert pushed == sorted(pushed)
        assert it.wire.sent, "and the socket was full at times"


async def test_a_full_socket_leaves_it_to_the_writer_in_order() -> None:
    async with line() as it:
        it.wire.room = 0
        it.text("a")
        await asyncio.sleep(0.001)
        it.text("b", "c")
        it.wire.room = 10
        it.text("d")
        await asyncio.sleep(0.001)
        assert it.wire.pushed == [], "nothing overtakes what waits"
        it.wire.emptied.set()
        await asyncio.sleep(0.001)
        assert [frame["data"] for frame in it.wire.sent] == ["a"]
        assert it.wire.texts() == ["bcd"], "merged meanwhile"


async def test_a_pause_holds_events_and_lets_answers_through() -> None:
    async with line() as it:
        it.outlet.hold()
        it.text("a", "b")
        it.outlet.answer(Pong("1"))
        await asyncio.sleep(0.001)
        assert [frame["type"] for frame in it.wire.pushed] == ["pong"]
        it.outlet.release()
        await asyncio.sleep(0.001)
        assert it.wire.texts() == ["ab"]
        it.text("c")
        assert it.wire.texts() == ["ab", "c"], "and again at once"


async def test_an_answer_leaves_at_once_and_waits_where_the_socket_is_full() -> None:
    async with line() as it:
        it.outlet.answer(Pong("1"))
        assert it.wire.pushed == [{"type": "pong", "data": "1"}]
        it.wire.room = 0
        it.outlet.answer(Pong("2"))
        it.outlet.answer(Pong("3"))
        it.wire.emptied.set()
        await asyncio.sleep(0.001)
        assert [frame["data"] for frame in it.wire.sent] == ["2", "3"]


async def test_who_asks_on_and_does_not_read_is_closed() -> None:
    async with line(limit=3) as it:
        it.wire.room = 0
        for k in range(10):
            it.outlet.answer(Pong(str(k)))
        it.wire.emptied.set()
        await asyncio.sleep(0.001)
        assert it.wire.close == (4504, "slow_client")


async def test_words_leave_at_their_end() -> None:
    async with line(chunk="word") as it:
        it.text("he")
        it.text("llo wor")
        assert it.wire.texts() == ["hello "], "at once: of the first piece nothing has left"
        it.session.log.append(Status("working", run="r1"))
        assert it.wire.texts() == ["hello ", "wor"]


async def test_held_text_leaves_at_its_time_without_anything_else_happening() -> None:
    async with line(chars=100, ms=500) as it:
        it.text("a")
        await asyncio.sleep(0.3)
        it.text("b")
        await asyncio.sleep(0.19)
        assert it.wire.texts() == []
        await asyncio.sleep(0.02)
        assert it.wire.texts() == ["ab"], "half a second behind the first of it"
        it.text("c", "d")
        await asyncio.sleep(0.49)
        assert it.wire.texts() == ["ab"]
        await asyncio.sleep(0.02)
        assert it.wire.texts() == ["ab", "cd"], "and again"


async def test_held_text_leaves_inside_the_append_that_makes_it_enough() -> None:
    async with line(chars=4, ms=500) as it:
        it.text("ab")
        await asyncio.sleep(0.1)
        it.text("cd")
        assert it.wire.texts() == ["abcd"]
        await asyncio.sleep(0.45)
        it.text("e")
        await asyncio.sleep(0.3)
        assert it.wire.texts() == ["abcd"], "it is held from when it came, whenever the one before it was due"
        await asyncio.sleep(0.21)
        assert it.wire.texts() == ["abcd", "e"]
        it.text("f")
        it.session.log.append(Status("working", run="r1"))
        assert it.wire.texts() == ["abcd", "e", "f"], "anything else waits for nothing"


async def test_text_that_the_next_turn_has_is_held_from_then_on() -> None:
    async with line(ms=500) as it:
        it.session.log.append(Status("working", run="r1"))
        it.text("a", "b")
        await asyncio.sleep(0.49)
        assert it.wire.texts() == []
        await asyncio.sleep(0.02)
        assert it.wire.texts() == ["ab"]


async def test_held_text_waits_for_a_pause_and_for_room() -> None:
    async with line(ms=500) as it:
        it.text("a")
        it.outlet.hold()
        await asyncio.sleep(1)
        assert it.wire.texts() == []
        it.outlet.release()
        await asyncio.sleep(0.001)
        assert it.wire.texts() == ["a"], "its time had passed"
        it.wire.room = 0
        it.text("b")
        await asyncio.sleep(1)
        it.wire.emptied.set()
        await asyncio.sleep(0.001)
        assert [frame["data"] for frame in it.wire.sent] == ["b"]


async def test_under_any_other_server_held_text_leaves_at_its_time_too() -> None:
    async with line(ms=500, push=False) as it:
        it.wire.emptied.set()
        it.text("a")
        await asyncio.sleep(0.49)
        assert it.wire.sent == []
        await asyncio.sleep(0.02)
        assert [frame["data"] for frame in it.wire.sent] == ["a"]


async def test_a_client_that_goes_leaves_no_timer() -> None:
    async with line(ms=500) as it:
        it.text("a")
        it.outlet.leave()
        await asyncio.sleep(1)
        assert it.wire.texts() == []


async def test_messagepack_leaves_as_binary() -> None:
    async with line(MSGPACK) as it:
        it.text("a")
        assert it.wire.pushed == [MSGPACK.encode(Content("a", seq=1, run="r1"))]


async def test_a_drain_ends_with_the_reason_behind_all_events() -> None:
    async with line() as it:
        it.text("a", "b")
        it.outlet.drain(last=True)
        await asyncio.sleep(0.001)
        assert it.wire.texts() == ["a", "b"]
        assert it.wire.pushed[-1]["code"] == "shutting_down"
        assert it.wire.close == (4503, "shutting_down")


async def test_after_a_close_nothing_leaves() -> None:
    async with line() as it:
        it.outlet.close(FrameError("expected a, got b", code="conflict"))
        it.text("late")
        it.outlet.answer(Pong("late"))
        await asyncio.sleep(0.001)
        assert [frame["type"] for frame in it.wire.pushed] == ["error", "content"], "the text was there before"
        it.text("later")
        await asyncio.sleep(0.001)
        assert it.wire.texts() == ["late"]
        assert it.wire.close == (4409, "conflict")


async def test_a_lost_client_is_gone() -> None:
    async with line() as it:
        it.wire.room, it.wire.lost = 0, True
        it.text("a")
        with pytest.raises(Gone):
            await it.writing


async def test_in_a_shutdown_a_client_goes_as_soon_as_its_run_is_over() -> None:
    async def agent(_: Turn) -> str:
        await asyncio.sleep(1)
        return "a"

    async with line(push=True, agent=agent) as it:
        it.wire.emptied.set()
        await it.session.say("Hello")
        it.outlet.drain(last=False)
        await asyncio.sleep(0.5)
        assert it.wire.close is None
        await asyncio.sleep(0.51)
        assert it.wire.texts() == ["a"]
        assert it.wire.close == (4503, "shutting_down"), "though others' may go on"
