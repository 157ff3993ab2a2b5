"""A server under all that clients do, for minutes or an hour: in the end it holds what it held at the beginning.

The one rule: it is the process itself that tells, by the answer of the test's own agent, with nobody else there. The
base is taken after a warm-up, in which whatever is made once has been made.
"""

import asyncio
import itertools
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from processes import Server, Tab
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from .proof import Course, Disproved, Proof, Unprovable

WARM_UP = 0.2
"""Of the time."""
REST_S = 12
"""Seconds until nobody is there: uvicorn waits 10 s for who doesn't answer its close."""
PACE = 6.0
"""Visits that begin in a second: a fifth of a core for the server, a tenth for the clients."""
AT_ONCE = 12
"""Visits that are under way."""
LOADED = 20
"""Sessions that `soaked.py` keeps in memory."""
GROWTH_KB = 6_144
"""What the process may have more in the end than after the warm-up: an allocator doesn't give everything back."""
TREND_KB = 4_096
"""What it may grow by in the second half of the time."""
OBJECTS = 500
"""Objects of Python's that may be more: the sessions in memory are not the same. One for each visit would be more."""
BAD = (
    '{"type": "messag"}',
    "[",
    '{"type": "reply", "request": "none", "data": 1}',
    '{"type": "message", "data": ""}',
    "{}",
)
WORDS = ("stream", "burst", "tool", "section", "ask", "word", "thread")


class Held(Struct, frozen=True):
    """What the process says that it holds."""

    tasks: int
    descriptors: int
    threads: int
    kilobytes: int
    sessions: int
    objects: int
    ours: dict[str, int]
    files: dict[str, int]
    """Descriptors by what they are."""


class Soak:
    """One server and its visitors."""

    def __init__(self, course: Course, server: Server, port: int) -> None:
        self.course = course
        self.server = server
        self.port = port
        self.known: list[dict[str, Any]] = []
        """Sessions to come back to, with their tabs' copies."""
        self.samples: list[tuple[float, int]] = []
        self.failed: list[BaseException] = []
        self._visits: set[asyncio.Task[None]] = set()

    async def ask(self, what: str) -> str:
        """The agent's answer to one word, in a new session."""
        tab = Tab(self.server)
        await tab.connect()
        run = await tab.say(what)
        await tab.until("settled", run=run)
        await tab.leave()
        return tab.text(run)

    async def held(self, seconds: Iterator[int]) -> Held:
        """What it holds once nobody is there, and has not been for a while."""
        for _ in range(REST_S):
            next(seconds)
            await asyncio.sleep(1)
        return msgspec.json.decode(await self.ask("measure"), type=Held)

    async def run(self, seconds: Iterator[int], count: int) -> None:
        """Visits at a steady pace for `count` seconds."""
        began = time.monotonic()
        numbers = itertools.count()
        for passed in range(count):
            seed = next(seconds)
            for n in range(round(PACE)):
                await asyncio.sleep(max(0.0, began + passed + n / PACE - time.monotonic()))
                if len(self._visits) < AT_ONCE:
                    rng = random.Random(seed * 1000 + n)
                    task = asyncio.create_task(self.visit(rng), name=f"visit {next(numbers)}")
                    self._visits.add(task)
                    task.add_done_callback(self.visited)
            self.samples.append((time.monotonic(), int(await self.ask("size"))))
            if self.failed:
                raise self.failed[0]
        if self._visits:
            await asyncio.wait(self._visits)
        if self.failed:
            raise self.failed[0]

    def visited(self, task: asyncio.Task[None]) -> None:
        self._visits.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed.append(error)

    async def visit(self, rng: random.Random) -> None:
        kind = rng.choice(("talk", "talk", "talk", "tabs", "http", "http cut", "slow", "bad", "gone", "nothing"))
        self.course.facts[kind] += 1
        match kind:
            case "talk" | "tabs" | "gone":
                await self.talk(rng, kind)
            case "http" | "http cut":
                await self.http(rng, cut=kind == "http cut")
            case "slow":
                await self.slow()
            case "bad":
                await self.bad(rng)
            case _:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: local")
                writer.close()

    async def talk(self, rng: random.Random, kind: str) -> None:
        """Come, or come back; say some things, stop some; go, in order or not."""
        tab = Tab(self.server)
        if self.known and rng.random() < 0.6:
            old = self.known.pop(rng.randrange(len(self.known)))
            tab.session, tab.copy = old["session"], old["copy"]
            self.course.facts["came back"] += 1
        await tab.connect()
        second = tab.new_window() if kind == "tabs" else None
        if second is not None:
            await second.connect()
        run = ""
        for _ in range(rng.randint(1, 3)):
            run = await tab.say(" ".join(rng.choices(WORDS, k=rng.randint(1, 3))), when_busy="interrupt")
            await asyncio.sleep(rng.random() * 0.1)
            if rng.random() < 0.4:
                await tab.send({"type": "interrupt"})
                self.course.facts["interrupts"] += 1
        if kind == "gone":
            self.abort(tab)
        else:
            await tab.until("settled", run=run)
            await tab.leave()
        if second is not None:
            await second.until("settled", run=run)
            await second.leave()
        self.known.append({"session": tab.session, "copy": tab.copy})
        del self.known[:-40]

    def abort(self, tab: Tab) -> None:
        """The network is gone."""
        socket = vars(tab)["_socket"]
        socket.transport.abort()

    async def http(self, rng: random.Random, *, cut: bool) -> None:
        body = msgspec.json.encode({"message": " ".join(rng.choices(WORDS, k=2))})
        accept = rng.choice(("application/x-ndjson", "text/event-stream"))
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            b"POST /api/agent/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\n"
            + f"Accept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if cut:
            await reader.read(rng.randint(1, 2000))
            writer.transport.abort()
            return
        data = await reader.read()
        if b" 200 " not in data[:20] or not (b'"settled"' in data or b'"done"' in data):
            raise Disproved(f"expected a stream to its end, got {data[:200]!r} … {data[-200:]!r}")
        writer.close()

    async def slow(self) -> None:
        """Asks for much, and reads nothing for a while."""
        url = f"ws://127.0.0.1:{self.port}/ws"
        async with connect(url, compression=None, proxy=None, max_queue=1, close_timeout=0.1) as socket:
            await socket.send('{"message": "burst burst burst"}')
            await asyncio.sleep(0.5)
            socket.transport.abort()

    async def bad(self, rng: random.Random) -> None:
        tab = Tab(self.server)
        await tab.connect()
        socket = vars(tab)["_socket"]
        for frame in rng.choices(BAD, k=rng.randint(1, 12)):
            await socket.send(frame)
        with suppress(ConnectionClosed):
            await tab.send({"type": "ping", "data": "x"})
            await tab.until("pong")
        await tab.leave()

    def compare(self, base: Held, end: Held) -> None:
        """It holds what it held."""
        for what in ("tasks", "descriptors"):
            was, now = getattr(base, what), getattr(end, what)
            if now != was:
                raise Disproved(f"expected {was} {what} as at the beginning, got {now}: {base.files}, {end.files}")
        if end.threads > base.threads:
            raise Disproved(f"expected {base.threads} threads as at the beginning, got {end.threads}")
        if end.sessions > LOADED + 1:  # the one that asks
            raise Disproved(f"expected at most {LOADED} sessions in memory, got {end.sessions}")
        if end.objects > base.objects + OBJECTS:
            grown = {
                name: (base.ours.get(name, 0), now) for name, now in end.ours.items() if now > base.ours.get(name, 0)
            }
            raise Disproved(f"expected {base.objects} objects or little more, got {end.objects}; of ours: {grown}")
        grown = end.kilobytes - base.kilobytes
        if grown > GROWTH_KB:
            raise Disproved(f"expected at most {GROWTH_KB} KB more than {base.kilobytes} KB, got {grown} KB more")
        trend = self.trend()
        if trend > TREND_KB:
            raise Disproved(f"expected no growth in the second half, got {trend} KB")
        facts = self.course.facts
        facts["KB in the end"] += end.kilobytes
        facts["KB grown"] += grown
        facts["KB grown in the second half"] += trend

    def trend(self) -> int:
        """By how much the process grew in the second half of the samples: the slope of all of them."""
        half = self.samples[len(self.samples) // 2 :]
        if len(half) < 10:
            return 0
        times, sizes = [at for at, _ in half], [float(size) for _, size in half]
        return round(statistics.linear_regression(times, sizes).slope * (times[-1] - times[0]))


def look_at(path: Path, course: Course) -> None:
    """What the store grew by: that is no leak."""
    db = sqlite3.connect(path)
    [sessions] = db.execute("SELECT count(*) FROM sessions").fetchone()
    [events, size] = db.execute("SELECT count(*), sum(length(data)) FROM events").fetchone()
    db.close()
    course.facts["sessions in the store"] = sessions
    course.facts["events in the store"] = events
    course.facts["bytes of the file for each event"] = path.stat().st_size // events
    course.facts["bytes of JSON for each event"] = size // events


async def soak(course: Course) -> None:
    path = course.folder / "test.db"
    server = await Server.start("soaked.py", f"sqlite:{path}")
    try:
        it = Soak(course, server, await server.port())
        seconds = course.cases()
        warm_up = max(1, round(course.count * WARM_UP))
        if course.count < warm_up + 3 * REST_S:
            raise Disproved(f"expected at least {4 * REST_S} seconds, got {course.count}: nothing can be told of less")
        await it.run(seconds, warm_up)
        base = await it.held(seconds)
        it.samples.clear()
        await it.run(seconds, course.count - warm_up - 2 * REST_S)
        it.compare(base, await it.held(seconds))
        next(seconds, None)  # the last one holds
        server.terminate()
        if (status := await server.exit()) != 0 or "Traceback" in server.output:
            raise Disproved(f"expected an orderly end, got {status}: {server.output[-3000:]}")
    finally:
        await server.kill()
    look_at(path, course)


def prove(course: Course) -> None:
    if sys.platform != "linux":
        raise Unprovable("what a process holds is read from /proc: it needs Linux")
    asyncio.run(soak(course))


PROOF = Proof(
    "soak",
    "Whatever clients do for however long, the server holds in the end what it held at the beginning: tasks, "
    "descriptors, threads, objects and memory.",
    "seconds",
    short=120,
    long=3_600,
    prove=prove,
    background=True,
)
