"""Any input gets a defined answer: frames and requests by chance, good and bad, in each state of a connection.

The one rule: the answer is known before it is seen, from the schema and PROTOCOL.md (`frames_of_chance`, `expected`). A
client here sends what it has at once; so frames meet the server in heaps, as an attacker's would.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from helpers import drained
from loop import run
from starlette.applications import Starlette

from agent_ws import Limits, Settings, Turn, build_app
from agent_ws.testing.client import Client, Closed, connect, running

from .bugs import Bugs
from .expected import Expected, Live
from .frames_of_chance import FRAMES, SECRET, Chance
from .proof import Course, Disproved, Proof
from .requests_of_chance import Requests

FRAMES_EACH = 25
"""Frames and requests that one case sends."""
TICK = 1e-6
"""Virtual time in which everything that needs no timer happens."""
QUIET = 1.0
"""Seconds after which an address may do anything again, whatever it did before."""
KINDS = tuple(FRAMES)
LAST = "the last one"
"""A ping behind the heap: what was not answered before its answer will not be."""


async def agent(turn: Turn) -> str:
    """Asks first, where it is told to."""
    if turn.message == "ask":
        turn.content("Well? ")
        await turn.ask("question", "Well?")
        await asyncio.Event().wait()
    return "Done. "


class Fuzz:
    """One case: a server, and clients one after the other until all frames are sent."""

    def __init__(self, course: Course, rng: random.Random, app: Starlette, settings: Settings) -> None:
        self.course = course
        self.rng = rng
        self.app = app
        self.settings = settings
        self.lives: list[Live] = []
        """Sessions that there are."""

    async def play(self) -> None:
        left = FRAMES_EACH
        while left:
            await asyncio.sleep(QUIET)
            count = min(left, self.rng.choice((5, 25, 25)))
            if self.rng.random() < 0.1:
                self.course.tell(f"{count} requests")
                await Requests(self.course, self.rng, self.app, self.settings, self.lives).play(count)
                self.lives.clear()  # they took their time, and what was open may be over
            else:
                count = await self._talk(count)
            left -= count

    async def _talk(self, count: int) -> int:
        """One connection. Returns how many frames had their answers."""
        rng = self.rng
        binary = rng.random() < 0.4
        chance = Chance(rng, binary=binary)
        async with connect(self.app, subprotocols=["agent-ws.v1.msgpack"] if binary else []) as client:
            live = await self._prepare(client)
            spent = 0 if live is None else 2 if live.run else 1
            expected = Expected(self.settings, binary=binary, live=live, lives=self.lives, spent=spent)
            chance.known = known(self.lives)
            before = len(client.frames)
            for _ in range(count):
                message = self._message(chance)
                verdict = expected.take(message)
                self.course.facts[verdict] += 1
                self.course.facts["frames"] += 1
                if self.course.alone:
                    self.course.tell(f"{verdict}: {message[:200]!r} {expected.wants[-1:]}")
                await client.send_raw(message)
                if expected.closing is not None:
                    break
            if expected.closing is None:
                last = chance.encode({"type": "ping", "data": LAST})
                expected.take(last)
                await client.send_raw(last)
            closed = None
            try:
                await drained(client, TICK)
            except Closed as close:
                closed = close.code
            answers = [frame for frame in client.frames[before:] if "seq" not in frame]
            expected.check(answers, closed)
            check_secret(answers)
            self.course.facts[f"closed with {closed}" if closed else "stayed open"] += 1
            return min(count, expected.taken)

    async def _prepare(self, client: Client) -> Live | None:
        """Bring the connection into some state. None: it is not open yet."""
        state = self.rng.choice(("opening", "idle", "idle", "asking", "asking", "asking", "done"))
        self.course.tell(f"a client, {state}")
        self.course.facts[f"{state} connections"] += 1
        if state == "opening":
            return None
        await client.send({"type": "hello"})
        frame = await client.until("session")
        live = Live(frame["session"], frame["token"])
        self.lives.append(live)
        if state != "idle":
            await client.send({"type": "message", "data": "ask" if state == "asking" else "hi", "id": "first"})
            live.run = (await client.until("start"))["run"]
            live.messages.add("first")
            if state == "asking":
                live.request = (await client.until("request"))["request"]
                live.going = True
            await drained(client, TICK)
        return live

    def _message(self, chance: Chance) -> bytes | str:
        rng = self.rng
        kind = rng.choice(KINDS)
        if kind == "Hello" and rng.random() < 0.7:
            kind = "Say"  # a second `hello` closes, and behind it nothing is tried
        frame: Any = chance.frame(FRAMES[kind])
        dice = rng.random()
        if dice > 0.3:
            frame = chance.mutated(frame, FRAMES[kind])
        message = chance.encode(frame)
        if dice > 0.75:
            message = chance.broken(message)
        if rng.random() < 0.003:
            message = message * (1 + self.settings.limits.message_bytes // max(1, len(message)))
        return message


def known(lives: list[Live]) -> dict[str, list[str]]:
    """What the server has named, by the fields that take it."""
    if not lives:
        return {}
    last = lives[-1]
    names = {"session": last.session, "token": last.token, "run": last.run, "request": last.request, "id": "first"}
    return {name: [value] for name, value in names.items() if value}


def check_secret(answers: list[dict[str, Any]]) -> None:
    """What was refused is not repeated. (`about` and `pong` repeat on purpose what was understood.)"""
    for frame in answers:
        if SECRET in str(frame.get("message", "")):
            raise Disproved(f"expected an answer that repeats nothing, got {frame}")


@asynccontextmanager
async def served(rng: random.Random) -> AsyncGenerator[tuple[Starlette, Settings]]:
    """A server with some limits."""
    limits = Limits(
        bad_frames=rng.choice((3, 10, *[10_000] * 6)),
        queued=rng.choice((2, 8)),
        message_bytes=rng.choice((5_000, 65_536)),
        frame_burst=rng.choice((5, 12, *[200] * 6)),
        overruns=rng.choice((3, 100)),
    )
    settings = Settings(limits=limits)
    app = build_app(agent, settings)
    with Bugs(secret=SECRET):
        async with running(app):
            yield app, settings


async def case(course: Course, seed: int) -> None:
    """One case."""
    rng = random.Random(seed)
    async with served(rng) as (app, settings):
        await Fuzz(course, rng, app, settings).play()


def prove(course: Course) -> None:
    before = descriptors()
    for seed in course.cases():
        run(case(course, seed), seed)
    if descriptors() > before:
        raise Disproved(f"expected {before} descriptors as before, got {descriptors()}")


def descriptors() -> int:
    """How many this process has open; 0 where the system doesn't say."""
    folder = Path("/dev/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


PROOF = Proof(
    "fuzz",
    "Any frame, request or heap of bytes gets the answer that PROTOCOL.md defines for it, in every state and on every "
    "wire; nothing reaches the top, nothing is left open, and nothing that was refused is repeated.",
    f"clients with {FRAMES_EACH} frames each",
    short=4_000,
    long=40_000,
    prove=prove,
    parallel=True,
)
