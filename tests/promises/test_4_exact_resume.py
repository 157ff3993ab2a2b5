"""Promise 4: who comes back with a cursor gets what it lacks, once, in order; or `reset` and everything."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import Frame, Http, core, cursor, drained, got, hello, of, say, serving, sse, stubborn, types

from agent_ws.agents.scripted import Gate, Scripted, Wait
from agent_ws.errors import FrameError
from agent_ws.events import (
    Call,
    Event,
    SectionEnd,
    SectionStart,
    Start,
    Status,
    Thinking,
    ToolResult,
    Tools,
    ToolStart,
    User,
)
from agent_ws.fold import merge
from agent_ws.log import Epoch
from agent_ws.session import hash_token
from agent_ws.sessions import Sessions
from agent_ws.settings import Limits, Settings
from agent_ws.stores import Batch, MemoryStore, Record
from agent_ws.testing.client import Client, Closed, connect
from agent_ws.testing.invariants import Copy, check_copy
from agent_ws.turn import Turn

virtual = pytest.mark.virtual(seeds=3)

STORY = [
    Thinking("The user wants "),
    Thinking("a story. "),
    "Once upon ",
    Wait(0.1),
    "a tim",
    Wait(0.1),
    "e. The end",
    Wait(0.1),
    "ing 🙂. ",
    Tools((Call("t1", "search"),)),
    ToolStart("t1", "search", {"q": 1}),
    Wait(0.1),
    ToolResult("t1", output="3"),
    SectionStart("s1", "Moral"),
    "In no section. ",
    Wait(0.1),
    Status("working", "thinking"),
    "And so o",
    Wait(0.1),
    "n.",
    SectionEnd("s1"),
]


async def watch(client: Client, copy: Copy, seconds: float = 30.0) -> None:
    """Let a copy take all that a client gets, from its first frame."""
    await drained(client, seconds)
    for frame in client.frames:
        copy.take(frame)


def places(frames: list[Frame]) -> list[tuple[int, int]]:
    return [(0, 0), *((frame["seq"], frame.get("part", 0)) for frame in frames)]


def plain(frames: list[Frame]) -> list[tuple[Any, ...]]:
    """The events with text as single characters, so that how it was cut does not matter."""
    flat: list[tuple[Any, ...]] = []
    for frame in frames:
        if frame["type"] in ("content", "thinking"):
            flat += [(frame["type"], frame["run"], frame.get("section"), char) for char in frame["data"]]
        else:
            flat.append(tuple(sorted((key, str(value)) for key, value in frame.items())))
    return flat


@virtual
@pytest.mark.parametrize("buffer", [{}, {"buffer_chars": 6}, {"buffer_ms": 200}])
@pytest.mark.parametrize("chunk", ["token", "word", "sentence"])
async def test_from_every_position_on_another_connection(chunk: str, buffer: dict[str, int]) -> None:
    async with serving(Scripted(STORY)) as app, connect(app) as client:
        opened = await hello(client, None, chunk=chunk, **buffer)
        for message in ("one", "two"):
            await client.send({"message": message})
            await client.until("settled")
        session = await core(app, opened)
        for i, (after, part) in enumerate(places(client.events)):
            for subprotocols in ([], ["agent-ws.v1.msgpack"]):
                async with connect(app, subprotocols=subprotocols) as back:
                    again = await hello(back, opened, epoch=opened["epoch"], after=after, part=part)
                    assert again["resumed"] is True
                    assert again["after"] == after
                    await drained(back, 1)
                    assert plain(client.events[:i]) + plain(back.events) == plain(client.events)
        copy = Copy()
        for frame in client.frames:
            copy.take(frame)
        check_copy(copy, session.log.read(0))


@virtual
async def test_from_every_id_over_sse_and_ndjson() -> None:
    async with serving(Scripted(STORY)) as app, connect(app) as client:
        opened = await hello(client)
        await client.send({"message": "hi"})
        await client.until("settled")
        auth = {"authorization": f"Bearer {opened['token']}"}
        path = f"/api/agent/stream?session={opened['session']}"
        whole = [event for event in sse(await Http(app, path, headers=auth).text()) if "seq" in event[2]]
        assert [data["seq"] for _, _, data in whole] == [
            event.seq for event in merge((await core(app, opened)).log.read(0))
        ]
        for i, (_, ident, _) in enumerate(whole[:-1], 1):
            rest = sse(await Http(app, path, headers=auth | {"last-event-id": ident}).text())
            assert rest[0][0] == "session"
            assert rest[0][2]["resumed"] is True
            assert rest[1:-1] == whole[i:]
            assert rest[-1][2] == "[DONE]"
        last = Http(app, path, headers=auth | {"last-event-id": whole[-1][1]})
        assert await last.text() == ""
        assert last.status == 204, "a browser that comes back by itself is told to stop"


@virtual
async def test_on_another_wire_in_the_middle_of_a_run() -> None:
    gate = Gate()
    async with serving(Scripted(["a", Wait(1), "b", gate, "c"])) as app, connect(app) as client:
        opened = await hello(client)
        await client.send({"message": "hi"})
        await client.until("content")
        place = cursor(client, opened)
        client.drop()
        auth = {"authorization": f"Bearer {opened['token']}", "accept": "application/x-ndjson"}
        path = f"/api/agent/stream?session={opened['session']}&epoch={place['epoch']}&after={place['after']}"
        stream = Http(app, path, headers=auth)
        await gate.reached.wait()
        gate.set()
        text = await stream.text()
        assert '"data":"b"' in text
        assert '"data":"a"' not in text


@pytest.mark.virtual(seeds=20)
async def test_a_client_that_is_cut_off_again_and_again_ends_with_the_whole_log() -> None:
    async with serving(Scripted(STORY)) as app:
        copy = Copy()
        async with connect(app) as first:
            opened = await hello(first, chunk="word")
            await first.send({"message": "hi"})
            await watch(first, copy, 0.05)
        for _ in range(8):
            async with connect(app) as back:
                await back.send(
                    {
                        "type": "hello",
                        "session": opened["session"],
                        "token": opened["token"],
                        "chunk": "word",
                        **copy.come_back(),
                    }
                )
                await watch(back, copy, 0.1)
        session = await core(app, opened)
        assert session.busy is False
        check_copy(copy, session.log.read(0))
        assert copy.cursor.seq == session.log.tail
        assert copy.resets == []


@virtual
async def test_without_a_cursor_the_log_comes_from_its_start_and_is_not_called_resumed() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        opened = await hello(client)
        await client.send({"message": "hi"})
        await client.until("settled")
        async with connect(app) as back:
            again = await hello(back, opened)
            assert (again["resumed"], again["after"]) == (False, 0)
            assert ("tail" in opened, again["tail"]) == (False, client.events[-1]["seq"]), "where the log ends now"
            await drained(back, 1)
            assert back.events == client.events
            assert of(back, "reset") == []


# Cursors that can't be honoured


@virtual
@pytest.mark.parametrize(
    ("epoch", "after", "part", "reason"),
    [
        pytest.param("never-was", 0, 0, "epoch", id="unknown epoch at the start"),
        pytest.param("never-was", 3, 0, "epoch", id="unknown epoch, though the log is longer"),
        pytest.param(None, 10_000, 0, "ahead", id="ahead"),
        pytest.param(None, 2**53 - 1, 0, "ahead", id="far ahead"),
        pytest.param(None, 1, 1, "ahead", id="a part of no text"),
        pytest.param(None, 2, 3, "ahead", id="more of a text than there is"),
    ],
)
async def test_reset_says_why_and_brings_the_whole_log(epoch: str | None, after: int, part: int, reason: str) -> None:
    async with serving(Scripted(["abc", Status("working")])) as app, connect(app) as client:
        opened = await hello(client)
        for message in ("one", "two"):
            await client.send({"message": message})
            await client.until("settled")
        async with connect(app) as back:
            again = await hello(back, opened, epoch=epoch or opened["epoch"], after=after, part=part)
            assert (again["resumed"], again["tail"]) == (False, client.events[-1]["seq"])
            await drained(back, 1)
            assert types(back.frames)[:2] == ["session", "reset"]
            [reset] = of(back, "reset")
            assert (reset["reason"], reset["epoch"]) == (reason, opened["epoch"])
            assert plain(back.events) == plain(client.events)


@virtual
async def test_reset_over_sse() -> None:
    async with serving(Scripted(["abc"])) as app, connect(app) as client:
        opened = await hello(client)
        await client.send({"message": "hi"})
        await client.until("settled")
        auth = {"authorization": f"Bearer {opened['token']}"}
        ident = f"{opened['session']}.never-was.3."
        text = await Http(app, "/api/agent/stream", headers=auth | {"last-event-id": ident}).text()
        frames = sse(text)
        assert [name for name, _, _ in frames[:3]] == ["session", "reset", "user"]
        assert frames[0][2]["tail"] == client.events[-1]["seq"]


@virtual
async def test_a_session_that_was_let_go_from_memory_comes_back_with_its_cursor() -> None:
    settings = Settings(limits=Limits(loaded_sessions=1))
    async with serving(Scripted(["a"]), settings) as app:
        async with connect(app) as client:
            opened = await hello(client)
            await client.send({"message": "hi"})
            await client.until("settled")
            place = cursor(client, opened)
            received = client.events
        for _ in range(3):
            async with connect(app) as other:
                await say(other, "push it out")
                await got(other, "settled")
        async with connect(app) as back:
            again = await hello(back, opened, **place)
            assert again["resumed"] is True
            assert again["epoch"] != opened["epoch"], "it was loaded anew"
            await say(back, "more")
            await got(back, "settled")
            assert [event["seq"] for event in received + back.events] == list(
                range(1, len(received) + len(back.events) + 1)
            )


@virtual
async def test_a_session_stays_in_memory_until_the_last_task_has_its_receipt() -> None:
    gate = Gate()
    stays, answers = stubborn(gate, []), Scripted(["next"])

    async def agent(turn: Turn) -> None:
        if turn.message == "first":
            await stays(turn)
        else:
            async for item in answers(turn):
                turn.write(item)

    async with serving(agent, Settings(limits=Limits(loaded_sessions=1))) as app:
        async with connect(app) as client:
            opened = await hello(client)
            first = await say(client, "first")
            await gate.reached.wait()
            await say(client, "second", when_busy="interrupt")
            await client.until("done")
            await drained(client, 1)
        async with connect(app) as other:
            await hello(other)
        async with connect(app) as back:
            await hello(back, opened)
            await drained(back)
            assert (await got(back, "settled", run=first["run"]))["task"] == "abandoned"
        gate.set()


# After a crash: the database as a dead process left it. Threads and files need the real loop.


class Crash:
    """What `kill -9` leaves: a copy of the database's files, taken while the process goes on."""

    def __init__(self, folder: Path) -> None:
        self.live = Settings(store=f"sqlite:{folder / 'live.db'}")
        self.left = Settings(store=f"sqlite:{folder / 'left.db'}")
        self._folder = folder

    def happens(self) -> None:
        for path in self._folder.glob("live.db*"):
            if not path.name.endswith(("-shm", ".lock")):  # shared memory and locks die with the process
                shutil.copy(path, self._folder / path.name.replace("live", "left"))


@pytest.fixture
def crash(tmp_path: Path) -> Crash:
    return Crash(tmp_path)


async def durable(app: Any, opened: Frame) -> None:
    """Wait until the store has all of a session."""
    session = await core(app, opened)
    await app.state.gateway.sessions._feed.durable(session.id, session.log.position.seq)  # noqa: SLF001 - only to know when


async def test_after_a_crash_the_cursor_is_honoured_and_the_run_is_lost_with_its_text(crash: Crash) -> None:
    gate = Gate()
    async with serving(Scripted(["answer"], ["half an ", gate]), crash.live) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "one")
        await got(client, "settled")
        second = await say(client, "two")
        await say(client, "waits")
        await got(client, "content", run=second["run"])
        await durable(app, opened)
        await drained(client, 0.05)
        received, place = client.events, cursor(client, opened)
        crash.happens()

    script = Scripted(["next"])
    async with serving(script, crash.left) as app, connect(app) as back:
        again = await hello(back, opened, **place)
        assert again["resumed"] is True
        assert again["epoch"] != opened["epoch"]
        lost = await got(back, "error")
        assert (lost["code"], lost["run"]) == ("lost", second["run"])
        accepted = await say(back, "two")
        assert accepted["run"] == second["run"], "what was accepted before the crash still is"
        await say(back, "three")
        done = await got(back, "done")
        await got(back, "settled", run=done["run"])
        both = received + back.events
        assert [event["seq"] for event in both] == list(range(1, len(both) + 1))
        assert [event["code"] for event in both if event["type"] == "error"] == ["lost", "lost"]
        assert [event["task"] for event in both if event["type"] == "settled"] == [
            "finished",
            "lost",
            "lost",
            "finished",
        ]
        assert [message.text for message in script.turns[0].messages] == ["one", "answer", "two", "half an ", "three"]


async def test_who_saw_more_than_the_store_is_told_though_the_new_log_is_longer(crash: Crash) -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, *["b"] * 3]), crash.live) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        await got(client, "content")
        await durable(app, opened)
        crash.happens()
        gate.set()
        await got(client, "settled")
        place = cursor(client, opened)

    async with serving(Scripted(["c"]), crash.left) as app, connect(app) as tab:
        await hello(tab, opened)
        for message in ("one", "two", "three"):
            await say(tab, message)
            accepted = of(tab, "accepted")[-1]
            await got(tab, "settled", run=accepted["run"])
        assert tab.events[-1]["seq"] > place["after"], "else this test shows nothing"
        for back_with in (place, {**place, "after": place["after"] - 1}):
            async with connect(app) as back:
                again = await hello(back, opened, **back_with)
                assert again["resumed"] is False
                await back.until("settled", run=tab.events[-1]["run"])
                assert [reset["reason"] for reset in of(back, "reset")] == ["ahead"]
                assert plain(back.events) == plain(tab.events)
                assert "bbb" not in back.text()


async def test_over_sqlite_a_restart_in_order_loses_nothing(tmp_path: Path) -> None:
    settings = Settings(store=f"sqlite:{tmp_path / 'log.db'}")
    async with serving(Scripted(["a"]), settings) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "hi")
        await got(client, "settled")
        received, place = client.events, cursor(client, opened)
    for _ in range(2):
        async with serving(Scripted(["b"]), settings) as app, connect(app) as back:
            again = await hello(back, opened, **place)
            assert again["resumed"] is True
            await back.send({"message": "more"})
            await back.until("settled")
            assert back.events[0]["seq"] == place["after"] + 1
            place = cursor(back, again)
        async with serving(Scripted([]), settings) as app, connect(app) as whole:
            await hello(whole, opened)
            await whole.until("settled", run=back.events[-1]["run"])
            assert plain(whole.events)[: len(plain(received))] == plain(received)


async def test_a_wrong_token_and_a_wrong_name_open_nothing_and_are_answered_alike() -> None:
    async with serving(Scripted(["a"])) as app, connect(app) as client:
        opened = await hello(client)
        for stolen in (opened | {"token": "x" * 22}, opened | {"session": "nobody"}):
            async with connect(app) as thief:
                await thief.send({"type": "hello", "session": stolen["session"], "token": stolen["token"]})
                assert (await thief.until("error"))["code"] == "session_not_found"
                with pytest.raises(Closed) as closed:
                    await thief.receive()
                assert closed.value.code == 4404


@virtual
async def test_strangers_who_ask_for_a_session_do_not_load_it_again() -> None:
    store = MemoryStore()
    started: tuple[Event, ...] = (User("c1", "hi", seq=1, run="r1"), Start(seq=2, run="r1"))
    record = Record("s", "me", hash_token("token"), 0.0)
    await store.save([Batch("s", record, (Epoch("e", 1),), started)])
    async with Sessions(Scripted(["again"]), Settings(), store=store) as sessions:
        for _ in range(3):
            with pytest.raises(FrameError, match="a session of yours"):
                await sessions.find("s", owner="somebody", token="guess")
            await asyncio.sleep(1)
        session = await sessions.find("s", owner="me", token=None)
        assert [type(event).__name__ for event in session.log.read(2)] == ["Error", "Settled"], "ended once"
        assert len(session.log.epochs) == 2
        await session.say("go on")
