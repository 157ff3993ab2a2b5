"""A client that loses its connection, and comes back on the same wire or another, of a server on a real socket.

The agent goes on all the while. Each case has a session, a proxy and a network of its own; many cases run side by side
in one server. What a case does comes from its seed; what the machine makes of it in time does not.
"""

import asyncio
import random
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec
import uvloop
from live import Site, serving
from msgspec.structs import replace
from wire import Net, RawWebSocket, eventually

from agent_ws import Limits, Timeouts, Turn
from agent_ws.events import ENDINGS, Event
from agent_ws.session import Session
from agent_ws.testing.invariants import Copy, check_copy, check_log
from agent_ws.testing.proxy import Faults, Plan, Proxy

from .crowd import crowd
from .proof import Course, Disproved, Proof

AT_ONCE = 40
"""Cases side by side."""
DEADLINE_S = 60.0
"""For one case, which takes a fraction of a second."""
STEP_S = 0.008
STEPS = 600
"""An agent that nobody tells to finish says no more."""

Frame = dict[str, Any]


# The agent


class Agent:
    """Streams, by dice that its message names, until it is told to finish."""

    def __init__(self) -> None:
        self._told: dict[str, asyncio.Event] = {}
        """By message."""

    def finish(self, message: str) -> None:
        """The answer to this message is to end, also where it has not begun."""
        self._of(message).set()

    def _of(self, message: str) -> asyncio.Event:
        return self._told.setdefault(message, asyncio.Event())

    async def __call__(self, turn: Turn) -> AsyncGenerator[str]:
        rng = random.Random(turn.message)
        finish = self._of(turn.message)
        for n in range(STEPS):
            if finish.is_set():
                break
            match rng.randrange(12):
                case 0:
                    turn.thinking(f"hm {n} ")
                case 1:
                    turn.status("working", f"{n}")
                case 2:
                    async with turn.tool("search", {"n": n}) as call:
                        call.output = "hits " * rng.randrange(30)
                case 3:
                    for part in range(rng.randrange(40)):
                        yield f"{n}.{part} "
                case _:
                    yield rng.choice(("a ", "word ", f"{n}. Ünï ", "😀\n\n", "data: x\n", "\r\nid: 1\r\n" * 8))
            await asyncio.sleep(rng.choice((0, 1, 1, 1, 2)) * STEP_S)
        yield f"the end of {turn.message}"


# The wires


class Lost(Exception):
    """The connection is gone, in whatever way."""


class Wire:
    """One connection of a client's. `frame` gives what was received whole, None at an orderly end."""

    def __init__(self) -> None:
        self.writer: asyncio.StreamWriter | None = None

    async def open(self, net: Net, proof: Frame, cursor: Frame, run: str) -> None:
        raise NotImplementedError

    async def frame(self) -> Frame | None:
        raise NotImplementedError

    async def leave(self) -> None:
        """Close in order."""
        assert self.writer is not None
        self.writer.close()

    def abort(self) -> None:
        assert self.writer is not None
        self.writer.transport.abort()


class WebSocket(Wire):
    """Both subprotocols."""

    def __init__(self, *, binary: bool) -> None:
        super().__init__()
        self._binary = binary
        self._socket: RawWebSocket | None = None

    async def open(self, net: Net, proof: Frame, cursor: Frame, run: str) -> None:
        del run
        name = f"agent-ws.v1.{'msgpack' if self._binary else 'json'}"
        self._socket = await net.websocket({"sec-websocket-protocol": name})
        self.writer = self._socket.writer
        self.send({"type": "hello", **proof, **cursor})

    def send(self, frame: Frame) -> None:
        assert self._socket is not None
        self._socket.send(msgspec.msgpack.encode(frame) if self._binary else msgspec.json.encode(frame).decode())

    async def frame(self) -> Frame | None:
        assert self._socket is not None
        try:
            while True:
                opcode, payload = await self._socket.receive()
                if opcode == 8:
                    return None
                if opcode in (1, 2):
                    return msgspec.json.decode(payload) if opcode == 1 else msgspec.msgpack.decode(payload)
        except TimeoutError:
            raise Disproved("expected a frame, got nothing") from None
        except asyncio.IncompleteReadError as error:
            raise Lost(f"{error.partial!r}" if error.partial else "") from error
        except OSError as error:
            raise Lost from error

    async def leave(self) -> None:
        assert self._socket is not None
        self._socket.send(struct.pack("!H", 1000), opcode=8)
        try:
            while await self.frame() is not None:
                pass  # what was on its way is not wanted any more
        except Lost:
            pass
        await super().leave()


class Http(Wire):
    """SSE and NDJSON. With a `run` the stream is that run's alone."""

    def __init__(self, *, sse: bool) -> None:
        super().__init__()
        self._sse = sse
        self._reader: asyncio.StreamReader | None = None
        self._raw = b""
        self._left = 0
        """Bytes of the chunk that has begun."""
        self._text = b""
        self._over = False

    async def open(self, net: Net, proof: Frame, cursor: Frame, run: str) -> None:
        fields = {"accept": "text/event-stream" if self._sse else "application/x-ndjson"}
        if self._sse and cursor:
            # As a browser comes back: the address as it was, message and all, and the last id.
            fields["last-event-id"] = f"{proof['session']}.{cursor['epoch']}.{cursor['after']}.{run}"
            fields["authorization"] = f"Bearer {proof['token']}"
            request = net.head("GET", "/api/agent/stream?message=never+again", fields)
        else:
            body = msgspec.json.encode(proof | cursor)
            request = net.head("POST", "/api/agent/stream", fields, len(body)) + body
        self._reader, self.writer = await net.dial()
        self.writer.write(request)
        head = await self._until(b"\r\n\r\n")
        self._over = head.startswith(b"HTTP/1.1 204 ")
        if not self._over and not head.startswith(b"HTTP/1.1 200 "):
            raise Disproved(f"expected a stream, got {head[:60]!r}")

    async def _more(self) -> None:
        assert self._reader is not None
        try:
            data = await self._reader.read(65_536)
        except OSError as error:
            raise Lost from error
        if not data:
            raise Lost(f"{self._text!r}" if self._text or self._left else "")
        self._raw += data

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._raw:
            await self._more()
        found, _, self._raw = self._raw.partition(mark)
        return found

    async def _body(self) -> None:
        """Some more of the body, which ends anywhere."""
        if not self._left:
            size = await self._until(b"\r\n") or await self._until(b"\r\n")  # the first: the end of the chunk before
            self._left = int(size, 16)
            if not self._left:
                raise Disproved("expected the stream's own end before that of its bytes")
        if not self._raw:
            await self._more()
        part, self._raw = self._raw[: self._left], self._raw[self._left :]
        self._text += part
        self._left -= len(part)

    async def frame(self) -> Frame | None:
        end = b"\n\n" if self._sse else b"\n"
        while not self._over:
            entry, found, rest = self._text.partition(end)
            if not found:
                await self._body()
                continue
            self._text = rest
            frame = _sse(entry) if self._sse else msgspec.json.decode(entry)
            self._over = frame["type"] == "end"
            if not self._over:
                return frame
        return None


def _sse(entry: bytes) -> Frame:
    """An event as the frame that it stands for. Its id has to be the place behind it."""
    fields = dict(line.split(": ", 1) for line in entry.decode().split("\n") if not line.startswith(":"))
    if not fields:
        return {"type": "pong"}
    if fields["data"] == "[DONE]":
        return {"type": "end"}
    frame: Frame = msgspec.json.decode(fields["data"])
    if "event" not in fields:
        frame = {"type": "content", "data": frame.pop("content")} | frame
    if "seq" in frame and int(fields["id"].split(".")[2]) != frame["seq"]:
        raise Disproved(f"expected the id of event {frame['seq']}, got {fields['id']}")
    return frame


WIRES = ("json", "msgpack", "ndjson", "sse")


def wire_of(name: str) -> Wire:
    match name:
        case "json" | "msgpack":
            return WebSocket(binary=name == "msgpack")
        case _:
            return Http(sse=name == "sse")


# A client


class Tab:
    """What a client keeps of its session over all its connections."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self.proof: Frame = {}
        """`session` and `token`."""
        self.run = ""
        """The run that its stream is about; empty: all."""
        self.chunk = "token"
        """How it wants text, where it may say so: by WebSocket."""
        self.cursor: Frame = {}
        self.visits: list[list[Frame]] = []
        """All frames, by connection."""
        self.wire: Wire = Wire()

    @property
    def after(self) -> int:
        """The last event that it has."""
        return self.cursor.get("after", 0)

    async def come(self, wire: str, **more: Any) -> None:
        """Connect, or come back. `more` goes into an HTTP request's body."""
        self.wire = wire_of(wire)
        self.visits.append([])
        if isinstance(self.wire, WebSocket):
            more["chunk"] = self.chunk
        await self.wire.open(self._net, self.proof | more, self.cursor, self.run)

    async def frame(self) -> Frame | None:
        frame = await self.wire.frame()
        if frame is not None:
            self.visits[-1].append(frame)
            if frame["type"] == "session":
                self.proof = {"session": frame["session"], "token": frame.get("token") or self.proof["token"]}
                self.cursor = {"epoch": frame["epoch"], "after": frame["after"]} | self.cursor
            elif "seq" in frame:
                self.cursor = {"epoch": self.cursor["epoch"], "after": frame["seq"], "part": frame.get("part", 0)}
        return frame

    async def until(self, kind: str) -> Frame:
        """The first frame of this type on this connection."""
        for frame in self.visits[-1]:
            if frame["type"] == kind:
                return frame
        while (frame := await self.frame()) is not None:
            if frame["type"] == kind:
                return frame
        raise Disproved(f"expected `{kind}`, got the end of the stream")

    async def events(self, count: int) -> None:
        """So many events on this connection, or all that come."""
        while sum("seq" in frame for frame in self.visits[-1]) < count:
            if await self.frame() is None:
                return

    async def say(self, message: str, **more: Any) -> None:
        """By WebSocket; until it is accepted."""
        assert isinstance(self.wire, WebSocket)
        self.wire.send({"type": "message", "data": message, "id": message, **more})
        while (frame := await self.frame()) is not None:
            if frame["type"] == "accepted" and frame["id"] == message:
                return
        raise Disproved("expected `accepted`, got the end")

    def copy(self, log: Sequence[Event]) -> tuple[Copy, Sequence[Event]]:
        """What it holds, taken by the rules of PROTOCOL.md, and what it should: of its run, that run's events as if
        the log had no others.
        """
        mine = [e for e in log if e.run == self.run] if self.run else log
        number = {event.seq: n for n, event in enumerate(mine, 1)}
        own = [replace(event, seq=number[event.seq]) for event in mine]
        copy = Copy()
        for visit in self.visits:
            copy.come_back()
            for frame in visit:
                if "seq" in frame and frame["seq"] not in number:
                    raise Disproved(f"expected events of run {self.run}, got {frame}")
                if frame["type"] == "session":
                    before = sum(event.seq <= frame["after"] for event in mine)
                    copy.take(frame | {"after": before})
                else:
                    copy.take(frame | {"seq": number[frame["seq"]]} if "seq" in frame else frame)
        return copy, own


# A case

FAULTS = ("close", "abort", "reset", "hole", "hole down", "hole up", "cut: reset", "cut: fin", "cut: hole")


class Story:
    """One disconnect of the tab `lost`, and its return; `other` is a second tab, where there is one."""

    def __init__(self, course: Course, case: int, agent: Agent, site: Site) -> None:
        self._facts = course.facts
        self._tell = course.tell
        self._rng = random.Random(case)
        self._case = case
        self._agent = agent
        self._site = site

    async def play(self) -> None:
        plan = Plan(up=self._weather(20), down=self._weather(300))
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(Proxy("127.0.0.1", self._site.port, plan, seed=self._case))
            net = Net(proxy.port)
            stack.callback(net.close)
            stack.callback(self._finish)
            lost, other = Tab(net), Tab(net)
            lost.chunk = self._rng.choice(("token", "token", "word", "sentence"))
            first = self._rng.choice(("json", "msgpack", "ndjson", "sse", "one run"))
            others = await self._begin(lost, other, first)
            session = await self._site.session(lost.proof)
            await lost.events(self._rng.randint(1, 12))
            await self._lose(lost, proxy, session)
            await self._while_away(other if others else None, session)
            try:
                async with asyncio.timeout(DEADLINE_S / 2):
                    await self._come_back(lost, first, session)
                    await self._rest(lost, session)
                    if others:
                        await self._rest(other, session)
            except TimeoutError:
                raise Disproved(
                    f"expected the rest of {session.log.tail} events, got {lost.after} and {other.after} of them; "
                    f"busy: {session.busy}; " + ", ".join(f"{c.down.passed} bytes came" for c in proxy.connections)
                ) from None
            log = session.log.read(0)
            check_log(log, over=True)
            for tab in (lost, other) if others else (lost,):
                self._check(tab, log)
            self._facts["events"] += len(log)

    def _weather(self, slices: int) -> Faults:
        match self._rng.randrange(20):
            case 0 | 1 | 2 | 3:
                return Faults(slices=slices, latency=0.001)
            case 4 | 5:
                return Faults(latency=0.002, jitter=0.01)
            case 6:
                return Faults(bandwidth=50_000)
            case _:
                return Faults()

    async def _begin(self, lost: Tab, other: Tab, first: str) -> bool:
        """One of them makes the session and says what the agent begins to answer. Whether the other is there too."""
        message = f"{self._case}"
        joins = self._rng.random() < 0.5
        match first:
            case "json" | "msgpack":
                await lost.come(first)
                await lost.until("session")
                await lost.say(message)
            case "one run":
                await lost.come("sse", message=message, id=message)
                lost.run = (await lost.until("accepted"))["run"]
            case _:
                await other.come("json")
                await other.until("session")
                await other.say(message)
                lost.proof = other.proof
                await lost.come(first)
                return True
        if joins:
            other.proof = lost.proof
            await other.come(self._rng.choice(("json", "msgpack")))
        return joins

    async def _lose(self, lost: Tab, proxy: Proxy, session: Session) -> None:
        fault = self._rng.choice(FAULTS)
        self._facts[fault] += 1
        assert lost.wire.writer is not None
        connection = proxy.find(lost.wire.writer.get_extra_info("sockname"))
        after = connection.down.passed + self._rng.randint(1, 1500)
        self._tell(f"{fault} behind event {lost.after}")
        match fault:
            case "close":
                await lost.wire.leave()
            case "abort":
                lost.wire.abort()
            case "reset":
                connection.reset()
                await self._read_on(lost)
            case "hole":
                connection.hole()
            case "hole down":
                connection.down.hole()
            case "hole up":
                connection.up.hole()
            case "cut: reset" | "cut: fin":
                end = "reset" if fault == "cut: reset" else "fin"
                connection.down.faults = replace(connection.down.faults, end=end, after=after)
                await self._read_on(lost)
            case _:
                connection.down.faults = replace(connection.down.faults, end="hole", after=after)
                while not connection.down.holed:
                    await _step(session)
                await self._read_on(lost, patience=0.02)

    async def _read_on(self, tab: Tab, patience: float = DEADLINE_S) -> None:
        """What still comes, until the client notices, or has no patience any more."""
        try:
            async with asyncio.timeout(patience):
                while await tab.frame() is not None:
                    pass
        except TimeoutError:
            if patience == DEADLINE_S:
                raise Disproved("expected a connection that was cut to end, got nothing") from None
        except Lost as lost:
            self._facts["cut inside a frame"] += bool(str(lost))

    async def _while_away(self, other: Tab | None, session: Session) -> None:
        back = session.log.tail + self._rng.choice((0, 0, 1, 4, 10))
        if other is not None:
            assert isinstance(other.wire, WebSocket)
            match self._rng.randrange(8):
                case 0 | 1:
                    await other.say(f"next {self._case}", when_busy="queue")
                case 2:
                    await other.say(f"next {self._case}", when_busy="interrupt")
                case 3:
                    await other.say(f"next {self._case}", when_busy="steer")
                case 4 | 5:
                    other.wire.send({"type": "interrupt"})
                    while session.working:
                        await _step(session)
                    self._facts["a Stop while away"] += 1
                case _:
                    pass
        while session.log.tail < back and session.working:
            await _step(session)
        if self._rng.random() < 0.15:
            self._finish()
            while session.busy:
                await _step(session)
            self._facts["came back to what was over"] += 1

    async def _come_back(self, lost: Tab, first: str, session: Session) -> None:
        part = lost.cursor.get("part", 0)
        by = "sse" if lost.run else self._rng.choice(WIRES[:3] if part else WIRES)  # an id of SSE's has no part
        self._facts["came back with a part of an event"] += bool(part)
        missed = session.log.tail - lost.after
        self._tell(f"comes back by {by} behind {lost.after}, {missed} missed")
        self._facts["events missed, and brought"] += missed
        self._facts["came back by another wire"] += not lost.run and by != first
        await lost.come(by)
        self._facts[f"came back by {by}"] += 1
        await self._rest(lost, session, self._rng.randint(0, 8))
        self._finish()

    def _finish(self) -> None:
        for message in (f"{self._case}", f"next {self._case}"):
            self._agent.finish(message)

    async def _rest(self, tab: Tab, session: Session, count: int = STEPS * 50) -> None:
        """All that there is still to come, or `count` of it."""
        for _ in range(count):
            if isinstance(tab.wire, WebSocket):
                while session.busy and tab.after >= session.log.tail:
                    await _step(session)
                if tab.after >= session.log.tail:
                    return
            if await tab.frame() is None:
                if isinstance(tab.wire, WebSocket):
                    raise Disproved(f"expected the events behind {tab.after}, got a close")
                return

    def _check(self, tab: Tab, log: Sequence[Event]) -> None:
        copy, own = tab.copy(log)
        check_copy(copy, own)
        if copy.resets:
            raise Disproved(f"expected its cursor to be honoured, got `reset`: {copy.resets}")
        for visit in tab.visits[1:]:
            for frame in visit:
                if frame["type"] == "session" and not frame["resumed"]:
                    raise Disproved(f"expected to be resumed, got {frame}")
        # A stream ends at an ending; the receipt behind it may not be there yet.
        last = max(event.seq for event in own if isinstance(event, ENDINGS))
        end = len(own) if isinstance(tab.wire, WebSocket) else last
        if copy.cursor.seq < end or (tab.run and copy.cursor.seq > last):
            raise Disproved(f"expected events up to {end} of {len(own)}, got them up to {copy.cursor.seq}")
        self._facts["frames"] += sum(len(visit) for visit in tab.visits)


async def _step(session: Session) -> None:
    """Until the log grows, or a moment: that a session is idle is not in the log."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await session.log.wait(session.log.tail)


async def prove_all(course: Course) -> None:
    agent = Agent()
    limits = Limits(address_connections=1_000_000, frame_rate=1e9, session_rate=1e9, session_burst=1e9)
    async with serving(agent, timeouts=Timeouts(orphan=DEADLINE_S), limits=limits) as site:

        async def one(case: int) -> None:
            async with asyncio.timeout(DEADLINE_S):
                await Story(course, case, agent, site).play()

        await crowd(course, one, AT_ONCE)
        await eventually(lambda: not site.server.server_state.connections)
        await eventually(lambda: not site.server.server_state.tasks)


def prove(course: Course) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(prove_all(course))


PROOF = Proof(
    "resume",
    "A client that loses its connection in any way, in mid-frame too, and comes back, on another wire too, gets every "
    "event it lacks, once, in order, and none of a run that is not its own.",
    "disconnects",
    short=1000,
    long=10_000,
    prove=prove,
    parallel=True,
)
