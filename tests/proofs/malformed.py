"""Malformed byte streams on the sockets of a real server process, hundreds at once, beside a neighbour that is good.

Each stream ends with an error status, a close code that PROTOCOL.md lists, or the end of its connection; in time. The
process logs no error, and holds at the end what it held at the start.
"""

import asyncio
import contextlib
import random
import re
import struct
from pathlib import Path

import msgspec
import uvloop

from agent_ws import Limits, Settings, Timeouts

from .crowd import crowd
from .host import SERVED, Host, Neighbour, hosting, percentile
from .malice import UPGRADE, attack, frame
from .proof import Course, Disproved, Proof

AT_ONCE = 200
"""Streams side by side."""
HELLO_S = 0.4
"""What the server's `hello` limit is here: of a first frame, a head, a body."""
LATE = 4408
TRIES = 4
"""Of a stream whose end was that."""
DEADLINE_S = 15.0
"""From a stream's last byte to its end. Generous: a machine may be busy; the server's own limits are below a second,
but for `KEEP_ALIVE_S`.
"""
KEEP_ALIVE_S = 5.0
"""uvicorn's: an HTTP connection between two requests."""
PATIENT = 0.02
"""How many wait for the end of a connection that the server may keep."""
NEIGHBOUR_S = 5.0
"""For a pong, at p99: a hang, not slowness, is what is looked for here."""
LIMITS = Limits(address_connections=10**6, frame_rate=1e9, frame_burst=1e9, session_rate=1e9, session_burst=1e9)
SETTINGS = Settings(timeouts=Timeouts(hello=HELLO_S, stall=HELLO_S, orphan=HELLO_S, lag=1e9), limits=LIMITS)
TABLE = (Path(__file__).parents[2] / "PROTOCOL.md").read_text().split("## Close codes")[1].split("## ")[0]
CODES = frozenset(
    int(code) for row in re.findall(r"^\| ((?:\d{4}(?:, )?)+) \|", TABLE, re.MULTILINE) for code in row.split(", ")
)
CLIENTS = frozenset({*range(1000, 1015), *range(3000, 5000)}) - {1004, 1006}
"""What a client may close with, 1005 where it says nothing: it is answered with its own code (RFC 6455, 5.5.1)."""
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
HANDSHAKE = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE)


class Peer(asyncio.Protocol):
    """A socket: what came, and whether it is over."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.over = False
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._news.set()

    def eof_received(self) -> None:
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.over = True
        self._news.set()

    async def news(self) -> None:
        await self._news.wait()
        self._news.clear()


class Late(Disproved):
    """The server closed for want of a first frame. It has little time for that here, so it may be the machine that was
    late: then the case has another end when it is tried again.
    """


class Ended(msgspec.Struct):
    """What came of a stream."""

    statuses: list[int]
    code: int | None = None
    """Of the server's close."""
    texts: int = 0
    """Frames that it answered before."""


def ended(peer: Peer) -> Ended:
    """What has come so far."""
    data = bytes(peer.data)
    head, found, rest = data.partition(b" 101 ")
    statuses = [int(status) for status in STATUS.findall(data if not found else head + b" 101 ")]
    result = Ended(statuses)
    if not found:
        return result
    rest = rest.partition(b"\r\n\r\n")[2]
    while len(rest) >= 2:
        first, size, at = rest[0], rest[1], 2
        if size == 126:
            size, at = int.from_bytes(rest[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(rest[2:10], "big"), 10
        if len(rest) < at + size:
            break
        payload, rest = rest[at : at + size], rest[at + size :]
        if first == 0x88:
            result.code = int.from_bytes(payload[:2], "big") if payload else 1005
            break
        result.texts += first in (0x81, 0x82)
    return result


def _finish(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write_eof()


class Case:
    """One stream."""

    def __init__(self, course: Course, case: int, port: int) -> None:
        self._course = course
        self._rng = random.Random(case)
        self._port = port
        self._attack = attack(self._rng)

    async def play(self) -> None:
        rng, attack = self._rng, self._attack
        self._course.facts[attack.kind.partition(":")[0]] += 1
        self._course.tell(f"{attack.kind}, after the {attack.start}: {attack.data[:2000]!r}")
        loop = asyncio.get_running_loop()
        transport, peer = await loop.create_connection(Peer, "127.0.0.1", self._port)
        try:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._start(transport, peer)
            except TimeoutError:
                raise Disproved(f"expected to be served before {attack.kind}, got {bytes(peer.data)[:300]!r}") from None
            cuts = sorted(rng.randrange(len(attack.data)) for _ in range(rng.choice((0, 0, 1, 3))))
            for start, end in zip([0, *cuts], [*cuts, len(attack.data)], strict=True):
                if not transport.is_closing():
                    transport.write(attack.data[start:end])
                await asyncio.sleep(0)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._end(transport, peer)
            except TimeoutError:
                raise Disproved(f"{attack.kind}: expected an end, got none after {self._got(peer)}") from None
            self._check(peer)
        finally:
            transport.abort()

    async def _start(self, transport: asyncio.Transport, peer: Peer) -> None:
        if self._attack.start == "socket":
            return
        protocol = f"Sec-WebSocket-Protocol: agent-ws.v1.{'msgpack' if self._attack.binary else 'json'}\r\n"
        transport.write(f"GET /ws HTTP/1.1\r\n{HANDSHAKE}{protocol}\r\n".encode())
        while b"\r\n\r\n" not in peer.data:
            await peer.news()
        if self._attack.start == "hello":
            transport.write(frame(self._rng, 1, b'{"type":"hello"}'))
            while not ended(peer).texts:
                await peer.news()

    async def _end(self, transport: asyncio.Transport, peer: Peer) -> None:
        """Wait for what has to come by itself; then say that this was all, where the server may wait for more."""
        attack = self._attack
        patient = bool(attack.then) or self._rng.random() < PATIENT
        if attack.stays and attack.start == "hello":
            _finish(transport)  # nothing says that it is the server's turn
        while not peer.over:
            now = ended(peer)
            final = [status for status in now.statuses if status not in (100, 101)]
            if now.code is not None:
                if not transport.is_closing():
                    with contextlib.suppress(RuntimeError):  # it has said before that this was all
                        transport.write(frame(self._rng, 8, struct.pack("!H", 1000)))
                _finish(transport)  # else it would wait for the rest of a frame that has begun, some seconds
                break
            if final and attack.then:
                transport.write(attack.then)
                break
            opened = (attack.stays or attack.start == "socket") and now.statuses[-1:] == [101] and now.texts
            if (final and not patient) or opened:
                _finish(transport)  # it may keep the connection for another request, or for more frames
                break
            await peer.news()
        while not peer.over:
            await peer.news()

    def _got(self, peer: Peer) -> str:
        return f"{ended(peer)} {bytes(peer.data)[:200]!r}"

    def _check(self, peer: Peer) -> None:
        attack, result, facts = self._attack, ended(peer), self._course.facts
        if b"Traceback" in peer.data or b"most recent call" in peer.data:
            raise Disproved(f"{attack.kind}: expected no traceback, got {self._got(peer)}")
        statuses = result.statuses if attack.start == "socket" else result.statuses[1:]
        for status in statuses:
            facts[f"HTTP {status}"] += 1
            if status == 500 or (attack.refused and status < 400 and status != 100):
                raise Disproved(f"{attack.kind}: expected to be refused, got {self._got(peer)}")
        if result.code is not None:
            facts[f"close {result.code}"] += 1
            said_again = attack.stays and not attack.codes and result.code in CLIENTS
            if result.code not in (attack.codes or CODES) and not said_again:
                kind = Late if result.code == LATE else Disproved
                raise kind(f"{attack.kind}: expected {sorted(attack.codes or CODES)}, got {self._got(peer)}")
        self._course.tell(f"ended with {self._got(peer)}")


async def _quiet(host: Host, before: dict[str, int]) -> None:
    """Wait until it holds no more than before."""
    async with asyncio.timeout(DEADLINE_S):
        while any(now > before[what] for what, now in (await host.census()).items()):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(HELLO_S / 2)


async def _prove(course: Course) -> None:
    settings = msgspec.json.encode(SETTINGS).decode()
    async with hosting(course.folder, *SERVED, settings) as host:
        await host.census()  # once, so that all is loaded that is loaded late
        async with Neighbour(host.port) as neighbour:
            before = dict(await host.census())
            memory = host.memory

            async def one(case: int) -> None:
                for tries in range(TRIES, 0, -1):
                    try:
                        await Case(course, case, host.port).play()
                        break
                    except Late:
                        if tries == 1:
                            raise
                        course.facts["tried again"] += 1
                neighbour.check()

            await crowd(course, one, AT_ONCE)
            try:
                await _quiet(host, before)
            except TimeoutError:
                raise Disproved(
                    f"expected no more than {before} to be held at the end, got {await host.census()}"
                ) from None
            slow = percentile(neighbour.pongs, 0.99)
            if slow > NEIGHBOUR_S:
                raise Disproved(f"expected the neighbour's pong within {NEIGHBOUR_S} s, got {slow:.3f} s at p99")
            course.facts["pongs of the neighbour"] += len(neighbour.pongs)
            course.facts["ms to its pong, at p99"] = max(course.facts["ms to its pong, at p99"], round(slow * 1000))
            course.facts["MB more in memory"] += max(0, host.memory - memory) >> 20
        if trouble := host.trouble():
            raise Disproved(f"expected no error in the log, got {trouble}")


def _culprit(course: Course, runner: asyncio.Runner) -> int | None:
    """What is in the log or left behind has no case written on it: halve until it is one. None: it takes several."""
    seed, count = course.seed, course.count
    while count > 1:
        half = count // 2
        for start, size in ((seed, half), (seed + half, count - half)):
            try:
                runner.run(_prove(Course(seed=start, count=size, folder=course.folder)))
            except Exception:  # noqa: BLE001 - whatever it is: here it is
                seed, count = start, size
                break
        else:
            return None
    return seed


def prove(course: Course) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_prove(course))
        except Exception:
            if course.done == course.count:  # none of the streams, but what they left
                course.case = _culprit(course, runner)
            raise


PROOF = Proof(
    "malformed",
    "Whatever bytes come, as HTTP, as a handshake or as frames, they end with a documented answer or the connection's "
    "end in bounded time: no traceback, nothing left behind, and a good neighbour is served on.",
    "byte streams",
    short=2000,
    long=100_000,
    prove=prove,
    parallel=True,
)
