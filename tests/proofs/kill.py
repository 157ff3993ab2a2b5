"""`kill -9` at random moments, and the same file again: in a stream, a tool, a drain, at an acknowledgement, twice.

The one rule: what the disk had at the moment of the kill decides everything. It is read from a copy of the file, so the
server that comes next finds it as the dead one left it.
"""

import asyncio
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from processes import Server, Tab
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from agent_ws.errors import CODES
from agent_ws.events import ENDINGS, Error, Event, Settled, Start, User
from agent_ws.stores.sqlite import SqliteStore
from agent_ws.testing.invariants import check_copy, check_log

from .proof import Course, Disproved, Proof

SIDE_BY_SIDE = 3
"""Cases at once: a server that starts, and one that waits, leave time for each other."""
WORDS = ("stream", "stream", "burst", "tool", "section", "ask", "words")
MOMENTS = ("at once", "accepted", "accepted", "content", "tool_start", "done", "some time", "drain", "coming back")
SOON_S = 0.3
SESSION_NOT_FOUND = CODES["session_not_found"].close


def expect(holds: object, what: str) -> None:
    if not holds:
        raise Disproved(what)


async def stored(path: Path, session: str) -> list[Event] | None:
    """What the file has of a session, or None. The file itself is left alone."""
    copied = path.parent / "copy"
    copied.mkdir(exist_ok=True)
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, copied)
    store = SqliteStore(copied / path.name)
    await store.open()
    try:
        saved = await store.load(session)
    finally:
        await store.close()
        shutil.rmtree(copied)
    return None if saved is None else list(saved.events)


class Case:
    """One session, two tabs, one or two kills."""

    def __init__(self, course: Course, seed: int, folder: Path) -> None:
        self.course = course
        self.rng = random.Random(seed)
        self.path = folder / "test.db"
        self.server: Server
        self.tabs: list[Tab] = []
        self.windows: list[Tab] = []
        """Those that looked in while the server was about to be killed again."""
        self.said = 0
        self.accepted: set[str] = set()
        """Every message that a tab was told the store has."""
        self.seen = asyncio.Event()
        """What the kill waits for has come."""
        self.awaited = ""

    async def serve(self) -> Server:
        """A server on the file."""
        options = ("--port", "0", "--store", f"sqlite:{self.path}", "--drain", "0.2")
        self.server = await Server.start("-m", "agent_ws", "serve", "acting:busy", *options)
        return self.server

    async def play(self) -> None:
        tab = Tab(await self.serve())
        self.tabs = [tab, tab.new_window()]
        try:
            await tab.connect()
            self.tabs[1].session = tab.session
            await self.tabs[1].connect()
            await self.act_until_killed()
            await self.come_back()
            await self.over()
        finally:
            await self.server.kill()
            for each in self.tabs + self.windows:
                await each.leave()  # only now: a client that doesn't read waits for its server

    async def act_until_killed(self) -> None:
        """Use the tabs until the moment has come, then kill."""
        rng = self.rng
        moment = rng.choice(MOMENTS)
        self.course.facts[f"killed: {moment}"] += 1
        self.awaited = moment
        self.seen.clear()
        readers = [asyncio.create_task(self.read(tab)) for tab in self.tabs]
        try:
            for tab in rng.choices(self.tabs, k=rng.randint(1, 4)):
                await self.act(tab)
            with suppress(TimeoutError):
                match moment:
                    case "at once" | "coming back":
                        pass
                    case "some time":
                        await asyncio.sleep(rng.random() * SOON_S)
                    case "drain":
                        self.server.terminate()
                        await self.server.says("draining")
                        await asyncio.sleep(rng.random() * SOON_S)
                    case _:
                        async with asyncio.timeout(1):  # an answer may have no tool
                            await self.seen.wait()
                        await asyncio.sleep(rng.choice((0, 0, rng.random() * 0.02)))
            # No reader has a turn between the kill and its signal: what it has is what was sent before.
            await self.server.kill()
        finally:
            await asyncio.gather(*readers)
        self.course.facts["kills"] += 1
        self.look()

    async def act(self, tab: Tab) -> None:
        rng = self.rng
        self.said += 1
        words = " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))
        frame = {"type": "message", "data": words, "id": f"m{self.said}"}
        policy = rng.choice((None, "queue", "interrupt", "steer"))
        await tab.send(frame | ({"when_busy": policy} if policy else {}))
        if rng.random() < 0.2:
            await tab.send({"type": "interrupt"})
        await asyncio.sleep(rng.choice((0, 0, 0.01, 0.05)))

    async def read(self, tab: Tab) -> None:
        """Take all that comes, until the server is gone."""
        with suppress(ConnectionClosed):
            while True:
                frame = await tab.receive()
                self.course.facts["frames"] += 1
                if frame["type"] == "accepted":
                    self.accepted.add(frame["id"])
                if frame["type"] == self.awaited:
                    self.seen.set()

    def look(self) -> None:
        bugs = [line for line in self.server.output.splitlines() if "Traceback" in line or "ERROR" in line]
        expect(not bugs, f"expected no bug, got {self.server.output}")

    async def come_back(self) -> None:
        """Start again, perhaps to be killed on the way, until the tabs are back."""
        session = self.tabs[0].session["session"]
        first = await stored(self.path, session)
        before = first or []
        while True:
            held = await stored(self.path, session) or []
            self.check_held(before, held)
            before = held
            await self.serve()
            if self.rng.random() > 0.3:
                break
            self.course.facts["killed: again"] += 1
            self.course.facts["kills"] += 1
            with suppress(ConnectionClosed, InvalidHandshake, OSError):
                await self.server.port()
                await asyncio.sleep(self.rng.random() * 0.05)
                if self.rng.random() < 0.5:
                    window = self.tabs[0].new_window()
                    self.windows.append(window)
                    await window.connect(self.server)  # it is loaded, and its lost runs are ended
            await self.server.kill()
            self.look()
        if first is None:
            await self.forgotten()
            return
        for tab in self.tabs:
            cursor = tab.copy.cursor
            await tab.connect(self.server)
            # What the next server wrote is no part of what the dead one showed.
            honoured = cursor.seq <= len(first)
            self.course.facts["copies honoured" if honoured else "copies reset"] += 1
            expect(
                tab.session["resumed"] is honoured,
                f"expected a copy up to {cursor} of {len(first)} stored events to be "
                f"{'honoured' if honoured else 'reset'}, got {tab.session}",
            )
            if not honoured:
                frame = await tab.receive()
                expect((frame["type"], frame["reason"]) == ("reset", "ahead"), f"expected a reset, got {frame}")

    async def forgotten(self) -> None:
        """The session never reached the disk, so nothing in it was accepted. Its tabs are told, and begin a new one."""
        self.course.facts["sessions forgotten"] += 1
        for tab in self.tabs:
            with suppress(ConnectionClosed):
                await tab.connect(self.server)
            code = await tab.closed()
            expect(code == SESSION_NOT_FOUND, f"expected a session that never was, got {code}")
        self.tabs = [Tab(self.server)]
        await self.tabs[0].connect()

    def check_held(self, before: list[Event], held: list[Event]) -> None:
        """What was acknowledged is on the disk, and what was there before is there still."""
        there = {event.id for event in held if isinstance(event, User)}
        lost = self.accepted - there
        expect(not lost, f"expected all that was accepted on the disk, got none of {lost}")
        self.course.facts["acknowledgements kept"] += len(self.accepted)
        expect(held[: len(before)] == before, f"expected {before} to be there still, got {held}")
        check_log(held)

    async def over(self) -> None:
        """The session goes on, and in the end all of it is on the disk, and in the tabs."""
        tab = self.tabs[0]
        for message in sorted(self.accepted):
            await tab.say("what was accepted is not run twice", id=message)
        run = await tab.say("words", id="last")
        for each in self.tabs:
            settled = await each.until("settled", run=run)
            while each.copy.cursor.seq < settled["seq"]:
                await each.receive()
        self.server.terminate()
        status = await self.server.exit()
        expect(status == 0, f"expected an orderly end, got {status}: {self.server.output}")
        self.look()
        session: dict[str, Any] = tab.session
        events = await stored(self.path, session["session"]) or []
        self.check_held([], events)
        check_log(events, over=True)
        for each in self.tabs:
            check_copy(each.copy, events)
        runs = [event.run for event in events if isinstance(event, Start)]
        endings = [event.run for event in events if isinstance(event, ENDINGS)]
        expect(len(set(runs)) == len(runs), f"expected each run to begin once, got {runs}")
        expect(len(set(endings)) == len(endings), f"expected one ending of each run, got {endings}")
        said = {event.id for event in events if isinstance(event, User)}
        twice = [event for event in events if isinstance(event, User) and "not run twice" in event.data]
        expect(not twice, f"expected nothing to be run twice, got {twice}")
        facts = self.course.facts
        facts["messages"] += len(said)
        facts["runs"] += len(endings)
        facts["lost runs ended"] += sum(isinstance(event, Error) and event.code == "lost" for event in events)
        facts["receipts"] += sum(isinstance(event, Settled) for event in events)
        facts["events on the disk"] += len(events)


async def prove_all(course: Course) -> None:
    """Several cases side by side, each with servers and a file of its own."""
    seeds = course.cases()
    failed: list[tuple[int, Exception]] = []

    async def work() -> None:
        for seed in seeds:
            folder = course.folder / str(seed)
            folder.mkdir()
            try:
                await Case(course, seed, folder).play()
            except Exception as error:  # noqa: BLE001 - it is raised below, once the others have come to their end
                failed.append((seed, error))
            if failed:
                return
            shutil.rmtree(folder)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(SIDE_BY_SIDE, course.count)):
            group.create_task(work())
    if failed:
        course.case, error = failed[0]
        raise error


def prove(course: Course) -> None:
    asyncio.run(prove_all(course))


PROOF = Proof(
    "kill",
    "After `kill -9` at any moment the same file has every message that was accepted, each run has exactly one ending, "
    "and a client's copy is either honoured or told `reset`.",
    "kills",
    short=20,
    long=1_000,
    prove=prove,
)
