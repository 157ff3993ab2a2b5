"""Stops at random moments: by the clock, by the event, by the step of the event loop; from any tab, on any wire; twice,
too late, crossing messages and endings.

The clock is virtual, so a Stop that takes any time at all took too long. What must be true is in `stops.py`.
"""

import asyncio
import random
from typing import Any

import msgspec
from chaos import Disk, Drive
from helpers import Http, sse
from loop import run
from starlette.applications import Starlette

from agent_ws import Settings, build_app
from agent_ws.events import ENDINGS, Settled
from agent_ws.testing.client import Client, connect, running
from agent_ws.testing.invariants import check_copy, check_log

from .bugs import Bugs
from .ledger import STEPS, Ledger
from .proof import Course, Disproved, Proof
from .stops import Stop, check_reasons, check_receipt, check_stop, check_told
from .witnesses import Tab, Watch, check_order

TICK = 1e-6
"""Virtual time in which everything that needs no timer happens: as long as a Stop may take."""
LONG = 2000.0
"""Longer than every limit of a run together."""
POLICIES = (None, "interrupt", "queue", "steer", "reject")
KINDS = ("user", "start", "content", "tool_start", "request", "done", "interrupted", "error", "settled")
"""Events that a Stop may wait for."""
NEVER = "never"
"""A run that there never was."""

Moment = tuple[float, str, int]
"""Some time, then some event, then some steps of the loop."""


class Schedule:
    """One session with two tabs, some messages and some Stops."""

    def __init__(self, course: Course, rng: random.Random, app: Starlette, ledger: Ledger) -> None:
        self.course = course
        self.rng = rng
        self.app = app
        self.ledger = ledger
        self.tabs: list[Tab] = []
        self.session: dict[str, str] = {}
        """What opens it."""
        self.said = 0
        self.superseding = False
        """A message was sent that may interrupt a run."""
        self.stops: list[Stop] = []
        self.streams: list[Http] = []
        self.watch: Watch

    async def play(self) -> None:
        rng = self.rng
        wires = [["agent-ws.v1.msgpack"] if rng.random() < 0.3 else [] for _ in range(2)]
        async with (
            connect(self.app, subprotocols=wires[0]) as one,
            connect(self.app, subprotocols=wires[1]) as two,
            asyncio.TaskGroup() as group,
        ):
            reading = [await self._open(group, client) for client in (one, two)]
            found = await self.app.state.gateway.sessions.find(**self.session, owner=None)
            self.watch = Watch(found, self.ledger)
            await self._say(rng.choice(self.tabs), None, by_http=rng.random() < 0.2)
            async with asyncio.TaskGroup() as actors:
                for _ in range(rng.choice((0, 0, 1, 2))):
                    actors.create_task(self._talk(self._moment()))
                for _ in range(rng.choice((1, 1, 2, 3))):
                    actors.create_task(self._stop(self._moment()))
            await asyncio.sleep(LONG)
            await self._check()
            for task in reading:
                task.cancel()

    async def _open(self, group: asyncio.TaskGroup, client: Client) -> asyncio.Task[None]:
        """Let a tab come to the session; the first one makes it."""
        tab = Tab(client, self.course)
        reading = group.create_task(tab.read(), name="tab")
        chunk = self.rng.choice(("token", "word", "sentence"))
        await client.send({"type": "hello", "chunk": chunk} | self.session)
        frame = await tab.opened
        self.session = self.session or {"session": frame["session"], "token": frame["token"]}
        self.tabs.append(tab)
        return reading

    # When

    def _moment(self) -> Moment:
        rng = self.rng
        time = rng.choice((0.0, 0.0, 0.0, 0.2, 0.4, 0.4, 0.6, 1.0, rng.uniform(0, 2), rng.uniform(0, 25)))
        kind = rng.choice(KINDS) if rng.random() < 0.4 else ""
        return time, kind, rng.choice((0, 1, 2, rng.randrange(40)))

    async def _reach(self, moment: Moment) -> None:
        time, kind, steps = moment
        await asyncio.sleep(time)
        if kind:
            await self.watch.until(kind, seconds=3)
        for _ in range(steps):
            await asyncio.sleep(0)

    # What

    async def _talk(self, moment: Moment) -> None:
        await self._reach(moment)
        rng = self.rng
        await self._say(rng.choice(self.tabs), rng.choice(POLICIES), by_http=rng.random() < 0.2)

    async def _say(self, tab: Tab, policy: str | None, *, by_http: bool = False) -> str:
        rng = self.rng
        message = f"m{self.said}"
        self.said += 1
        data = "g" * (rng.random() < 0.2) + "".join(rng.choices(STEPS, k=rng.randint(1, 6)))
        self.superseding |= policy == "interrupt"
        ask = {"id": message} | ({"when_busy": policy} if policy else {})
        self._note(f"says {data!r} {ask}{' by HTTP' if by_http else ''}")
        self.course.facts["messages"] += 1
        if by_http:
            headers = {"accept": rng.choice(("application/x-ndjson", "text/event-stream"))}
            body = ask | self.session | {"message": data}
            self.streams.append(Http(self.app, "/api/agent/stream", body, headers))
        else:
            tab.said.add(message)
            await tab.client.send({"type": "message", "data": data} | ask)
        return message

    async def _stop(self, moment: Moment) -> None:
        rng = self.rng
        await self._reach(moment)
        wire = rng.choice(("first tab", "second tab", "leaving tab", "http"))
        tab = {"first tab": self.tabs[0], "second tab": self.tabs[1]}.get(wire)
        if tab is not None and rng.random() < 0.2:
            await self._say(tab, rng.choice(POLICIES))
        events = self.watch.events()
        runs = list(dict.fromkeys(event.run for event in events))
        ended = {event.run for event in events if isinstance(event, ENDINGS)}
        stop = Stop(
            wire=wire,
            reason=f"stop {len(self.stops)}" if rng.random() < 0.85 else "user",
            run=NEVER if rng.random() < 0.03 else rng.choice((None, None, None, *runs[-3:], *runs[-1:])),
            seen=rng.choice((None, None, 0, rng.randrange(30), 10**6)),
            open={run for run in runs if run not in ended},
            ended=ended,
            before=set(tab.said) if tab is not None else set(),
        )
        self.stops.append(stop)
        self._note(f"sends {stop}")
        for _ in range(rng.choice((1, 1, 1, 2))):
            self.course.facts["interrupts"] += 1
            self.course.facts[f"by {wire}"] += 1
            await self._send(stop, tab)
        after = [await self._say(tab, rng.choice(POLICIES))] if tab is not None and rng.random() < 0.3 else []
        await asyncio.sleep(TICK)
        stop.over = asyncio.get_running_loop().time()
        events = self.watch.events()
        check_log(events)
        check_stop(stop, events, [tab.ended for tab in self.tabs], after)
        self.course.facts["runs stopped"] += len(stop.stopped(events)) if stop.named else 0
        self.course.facts["stops of nothing"] += not stop.open

    async def _send(self, stop: Stop, tab: Tab | None) -> None:
        fields = {"run": stop.run, "seen": stop.seen, "reason": stop.reason if stop.named else None}
        frame = {name: value for name, value in fields.items() if value is not None}
        if tab is not None:
            await tab.client.send({"type": "interrupt"} | frame)
        elif stop.wire == "http":
            request = Http(self.app, "/api/agent/interrupt", frame | self.session)
            answer = await request.json()
            if stop.run == NEVER:
                if (request.status, answer["error"]["code"]) != (404, "run_not_found"):
                    raise Disproved(f"expected 404 for a run that never was, got {request.status} {answer}")
            else:
                stop.told = stop.told | set(answer["interrupted"])
        else:
            async with connect(self.app) as client:  # and gone before any answer
                await client.send({"type": "hello"} | self.session)
                await client.send({"type": "interrupt"} | frame)

    # What must be true, with nothing going any more

    async def _check(self) -> None:
        events, when = self.watch.events(), self.watch.when
        check_log(events, over=True)
        check_told(events)
        check_reasons(self.stops, events, when, superseding=self.superseding)
        for tab in self.tabs:
            check_copy(tab.copy, events)
            if tab.copy.cursor.seq != len(events):
                raise Disproved(f"expected a copy of all {len(events)} events, got one up to {tab.copy.cursor}")
            if tab.said != set(tab.answers):
                raise Disproved(f"expected an answer to each of {tab.said}, got {set(tab.answers)}")
            asked = any(stop.run == NEVER and tab is self._tab(stop) for stop in self.stops)
            if asked is not bool(tab.unknown):
                raise Disproved(f"expected `run_not_found` to be {asked}, got {tab.unknown} of it")
        for event in events:
            if isinstance(event, Settled):
                self.course.facts[event.task] += 1
                check_receipt(event, events, when, self.watch.lives.get(event.run))
        self.course.facts["late writes refused"] += sum(life.refused for life in self.ledger.lives.values())
        for stream in self.streams:
            check_stream(await stream.text(), stream)

    def _tab(self, stop: Stop) -> Tab | None:
        return {"first tab": self.tabs[0], "second tab": self.tabs[1]}.get(stop.wire)

    def _note(self, text: str) -> None:
        self.course.tell(f"{asyncio.get_running_loop().time():12.6f} {text}")


def check_stream(text: str, stream: Http) -> None:
    """The stream of one message has its run's events up to its ending, then its end, and nothing else."""
    if stream.status != 200:
        if stream.status not in (409, 429):
            raise Disproved(f"expected a stream, or a refusal, got {stream.status} {text}")
        return
    if stream.headers["content-type"] == "application/x-ndjson":
        frames: list[dict[str, Any]] = [msgspec.json.decode(line) for line in text.splitlines()]
    else:
        frames = [{"type": name or "content"} | (data if name != "end" else {}) for name, _, data in sse(text)]
    kinds = [frame["type"] for frame in frames if frame["type"] != "pong"]
    if kinds[:2] != ["session", "accepted"] or kinds[-2] not in ("done", "interrupted", "error") or kinds[-1] != "end":
        raise Disproved(f"expected session, accepted, events, an ending and the end, got {kinds}")
    ended: set[str] = set()
    for frame in frames:
        if "seq" in frame:
            check_order(ended, frame)


async def stop_somewhere(course: Course, seed: int) -> None:
    """One case."""
    rng = random.Random(seed)
    ledger = Ledger()
    app = build_app(ledger.agent, Settings(), store=Drive(Disk(rng.choice((0, 0, 0.05)))))
    with Bugs():
        async with running(app):
            await Schedule(course, rng, app, ledger).play()


def prove(course: Course) -> None:
    for seed in course.cases():
        run(stop_somewhere(course, seed), seed)


PROOF = Proof(
    "interrupts",
    "A Stop at any moment, from any tab and on any wire, is answered at once by exactly one ending; nothing of the run "
    "comes after it, no other run is hit, the receipt says what the agent really did, and a model is told what was "
    "seen.",
    "schedules of 1 to 6 Stops",
    short=2_500,
    long=100_000,
    prove=prove,
    parallel=True,
)
