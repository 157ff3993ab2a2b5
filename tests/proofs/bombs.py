"""Little input that asks for much work or memory, thrown at `agent-ws serve` as it ships, in a process of its own.

Each bomb is refused as PROTOCOL.md says; the memory of the server's process stays below `PEAK` more than before; and a
good neighbour, a process of its own too, hardly notices. The neighbour pings, and reads a token each 20 ms: what is
compared is the 99th percentile of all its waiting, for a pong or for a token beyond its time, during the attack with
the same before and between, as they take turns, and with the same of a neighbour of a second server, which nobody
attacks, at the same time: that is what the machine makes of it. It may be `TIMES` the worse of these two, or `FLOOR_S`.
"""

import asyncio
import gzip
import json
import os
import struct
import sys
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import uvloop
from wire import Fields, Net, RawWebSocket

from agent_ws import Limits, Settings, Timeouts

from .host import HERE, SERVED, Host, hosting, percentile
from .malformed import Peer, ended
from .proof import Course, Disproved, Proof

MB = 1 << 20
PEAK = 96 * MB
"""More memory than before, at the worst moment."""
LEFT = 96 * MB
"""More than before, when all is over: what an allocator keeps of it."""
TIMES = 2.0
FLOOR_S = 0.05
TOKEN_S = 0.02
TRIES = 4
"""Of a bomb in which the neighbour waited too long."""
ROUNDS = 2
QUIET_S = 0.7
"""Before each attack."""
ATTACK_S = 0.9
"""An attack goes on at least for as long."""
DEADLINE_S = 60.0
PAUSE_S = 0.1
SPARE = 8
"""Descriptors that may be open for other reasons."""
DEEP = 5_000_000
AS_SHIPPED = ("-m", "agent_ws", "serve", "served:agent", "--port", "0", "--store", "memory", "--drain", "0.2")
ROOMY = (*AS_SHIPPED, "--message-bytes", str(32 * MB))
"""With a limit that lets the bomb itself in."""
CROWDED = (*AS_SHIPPED, "--address-connections", "5000")
LIMITS = Limits(address_connections=5000, frame_rate=1e6, frame_burst=1e6)
MANY = (*SERVED, msgspec.json.encode(Settings(limits=LIMITS, timeouts=Timeouts(drain=0.2, stall=1.5))).decode())
"""Handshakes of one address as fast as they come, and less patience with who does not read: there is no time for it."""


# What is thrown


async def closed(socket: RawWebSocket, *codes: int) -> None:
    """The close is one of these; or, where more was sent than was read, the connection is cut."""
    try:
        code = await socket.close_code()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    if code not in codes:
        raise Disproved(f"expected a close with one of {codes}, got {code}")


async def answered(net: Net, head: bytes, body: bytes, *statuses: int) -> None:
    """The same of a request."""
    reader, writer = await net.dial()
    answer = b""
    with suppress(ConnectionError):
        writer.write(head)
        for start in range(0, len(body), 1 << 18):
            writer.write(body[start : start + (1 << 18)])
            await writer.drain()
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.readuntil(b"\r\n\r\n")
    if answer and int(answer.split()[1]) not in statuses:
        raise Disproved(f"expected one of {statuses}, got {answer[:80]!r}")
    writer.close()


@asynccontextmanager
async def websocket(host: Host, fields: Fields = (), receive_buffer: int | None = None) -> AsyncGenerator[RawWebSocket]:
    """A handshake that went well, as soon as its address may make one more."""
    net = Net(host.port)
    try:
        while True:
            socket, response = await net.shake_hands(fields, receive_buffer)
            if response.status != 429:
                break
            socket.cut()
            await asyncio.sleep(PAUSE_S)
        if response.status != 101:
            raise Disproved(f"expected 101, got {response.status}")
        if response.header("sec-websocket-extensions"):
            raise Disproved("expected no extension, got one")
        yield socket
    finally:
        net.close()


async def nested(host: Host, data: bytes, code: int) -> None:
    name = "agent-ws.v1.json" if data.startswith(b"[") else "agent-ws.v1.msgpack"
    async with websocket(host, {"sec-websocket-protocol": name}) as socket:
        with suppress(ConnectionError):
            socket.send(data.decode() if data.startswith(b"[") else data)
            await socket.writer.drain()
        await closed(socket, code)


async def json_too_big(host: Host) -> None:
    await nested(host, b"[" * DEEP, 1009)


async def json_deep(host: Host) -> None:
    await nested(host, b"[" * DEEP, 4400)


async def msgpack_deep(host: Host) -> None:
    await nested(host, b"\x91" * DEEP, 4400)


async def _post(host: Host, body: bytes, *statuses: int, **fields: str) -> None:
    net = Net(host.port)
    sent = {name.replace("_", "-"): value for name, value in fields.items()}
    await answered(net, net.head("POST", "/api/agent/stream", sent, len(body)), body, *statuses, 429)
    net.close()


async def post_too_big(host: Host) -> None:
    await _post(host, b"[" * DEEP, 413)


async def post_deep(host: Host) -> None:
    await _post(host, b"[" * DEEP, 400)


GZIPPED = gzip.compress(b'{"message":"' + b"x" * (40 * MB) + b'"}')


async def post_gzipped(host: Host) -> None:
    """It says that it is compressed; nobody unpacks it."""
    await _post(host, GZIPPED, 400, content_encoding="gzip")


async def deflated(host: Host) -> None:
    """An extension that was refused is used all the same."""
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(b"x" * (40 * MB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    async with websocket(host, {"sec-websocket-extensions": "permessage-deflate; client_max_window_bits"}) as socket:
        socket.writer.write(b"\xc1\xfe" + struct.pack("!H", len(bomb[:60_000])) + bytes(4) + bomb[:60_000])
        await closed(socket, 1002)


async def fragments(host: Host) -> None:
    async with websocket(host) as socket:
        with suppress(ConnectionError):
            socket.writer.write(b"\x01\x80" + bytes(4))
            for _ in range(DEEP // 50_000):
                socket.writer.write((b"\x00\x80" + bytes(4)) * 50_000)
                await socket.writer.drain()
        await closed(socket, 1009, 4429)


async def head(host: Host) -> None:
    net = Net(host.port)
    await answered(net, b"GET / HTTP/1.1\r\n", (b"X-Field: " + b"y" * 91 + b"\r\n") * MB, 431, 408)
    net.close()


async def trailers(host: Host) -> None:
    net = Net(host.port)
    start = net.head("POST", "/api/agent/stream", {"transfer-encoding": "chunked"}) + b"2\r\n{}\r\n0\r\n"
    await answered(net, start, (b"X-Field: " + b"y" * 91 + b"\r\n") * MB, 431, 408, 400)
    net.close()


async def pipeline(host: Host) -> None:
    """Answers that nobody reads, of requests that come faster than they are answered."""
    net = Net(host.port)
    _, writer = await net.dial(4096)
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(ATTACK_S):
            while True:
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5_000)
                await writer.drain()
    net.close()


async def pings(host: Host) -> None:
    """Pongs that nobody reads."""
    async with websocket(host, receive_buffer=4096) as socket:
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(ATTACK_S):
                while True:
                    socket.writer.write((b"\x89\xfd" + bytes(4) + b"x" * 125) * 500)
                    await socket.writer.drain()


async def _half_open(host: Host, *, refused: bool) -> None:
    """A thousand handshakes that stop in the middle. Each is ended by the server."""
    loop = asyncio.get_running_loop()
    peers: list[tuple[asyncio.Transport, Peer]] = []
    for number in range(1000):
        with suppress(ConnectionError):
            transport, peer = await loop.create_connection(Peer, "127.0.0.1", host.port)
            transport.write(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgr")
            peers.append((transport, peer))
        if number % 50 == 49:
            await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(DEADLINE_S):
            for _, peer in peers:
                while not peer.over:
                    await peer.news()
    except TimeoutError:
        raise Disproved("expected an end of each half handshake, got none") from None
    finally:
        for transport, _ in peers:
            transport.abort()
        await asyncio.sleep(0.1)  # for the loop to close them
    told = [status for _, peer in peers for status in ended(peer).statuses]
    cut = 1000 - len(told)
    if set(told) - {408, 503} or (not refused and (cut or 503 in told)) or (refused and cut < 500):
        raise Disproved(
            f"expected 408{', and to be cut beyond the limit' if refused else ''}, got {set(told)}, {cut} cut"
        )


async def half_open(host: Host) -> None:
    await _half_open(host, refused=False)


async def half_open_refused(host: Host) -> None:
    await _half_open(host, refused=True)


async def zero_window(host: Host) -> None:
    """Five hundred who follow one answer without end, and read nothing of it."""
    before = (await host.census())["descriptors"]
    net = Net(host.port)
    first = await net.websocket()
    first.send('{"message": "flood"}')
    session = await first.until("session")
    first.cut()
    hello = json.dumps({"type": "hello", "session": session["session"], "token": session["token"]})
    sockets: list[RawWebSocket] = []
    for _ in range(500):
        socket = await net.websocket(receive_buffer=4096)
        socket.send(hello)
        sockets.append(socket)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while (await host.census())["descriptors"] > before + SPARE:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise Disproved("expected who doesn't read to be cut off, got them still there") from None
    again = await net.websocket()
    again.send(hello)
    again.send('{"type": "interrupt"}')
    await again.until("interrupted")
    net.close()


Bomb = tuple[Callable[[Host], Awaitable[None]], tuple[str, ...]]
BOMBS: tuple[Bomb, ...] = (
    (json_too_big, AS_SHIPPED),
    (json_deep, ROOMY),
    (msgpack_deep, ROOMY),
    (post_too_big, AS_SHIPPED),
    (post_deep, ROOMY),
    (post_gzipped, AS_SHIPPED),
    (deflated, AS_SHIPPED),
    (fragments, AS_SHIPPED),
    (head, AS_SHIPPED),
    (trailers, AS_SHIPPED),
    (pipeline, AS_SHIPPED),
    (pings, AS_SHIPPED),
    (half_open, CROWDED),
    (half_open_refused, AS_SHIPPED),
    (zero_window, MANY),
)


# What is measured


class Watch:
    """The neighbour's waiting, by phase."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.waits: list[float] = []
        """Of the phase that is."""
        self.fault = ""

    async def read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            news = json.loads(line)
            self.waits += news["pongs"]
            self.waits += [max(0.0, gap - TOKEN_S) for gap in news["gaps"]]
        self.fault = "the neighbour's end"


class Late(Disproved):
    """The neighbour waited too long. What else the machine does at that moment can be the reason, so it is measured
    again: what a bomb does it does each time.
    """


@asynccontextmanager
async def watching(host: Host) -> AsyncGenerator[Watch]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "watch.py"),
        str(host.port),
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent), str(HERE)])},
        stdout=asyncio.subprocess.PIPE,
    )
    watch = Watch(process)
    reading = asyncio.create_task(watch.read())
    try:
        yield watch
        if watch.fault:
            raise Disproved(f"expected the neighbour to be served all the time, got {watch.fault}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def _memory(host: Host, peak: list[int]) -> None:
    while True:
        peak[0] = max(peak[0], host.memory)
        await asyncio.sleep(0.01)


async def one(course: Course, bomb: Bomb) -> None:
    throw, words = bomb
    name = throw.__name__
    async with (
        hosting(course.folder, *words) as host,
        hosting(course.folder, *words) as twin,
        watching(host) as watch,
        watching(twin) as control,
    ):
        quiet: list[float] = []
        still: list[float] = []
        loud: list[float] = []
        await asyncio.sleep(QUIET_S)  # what is loaded late
        watch.waits = []
        before = host.memory
        peak = [before]
        measuring = asyncio.create_task(_memory(host, peak))
        try:
            for _ in range(ROUNDS):
                await asyncio.sleep(QUIET_S)
                quiet += watch.waits
                watch.waits, control.waits = [], []
                end = time.monotonic() + ATTACK_S
                while time.monotonic() < end:
                    await throw(host)
                    course.facts[f"{name}"] += 1
                await asyncio.sleep(0.2)
                loud += watch.waits
                still += control.waits
                watch.waits = []
        finally:
            measuring.cancel()
        await asyncio.sleep(QUIET_S)
        base = max(percentile(quiet, 0.99), percentile(still, 0.99))
        during = percentile(loud, 0.99)
        grown, left = peak[0] - before, host.memory - before
        course.tell(
            f"{name}: p99 {base * 1e3:.1f} ms, {during * 1e3:.1f} ms; peak +{grown / MB:.0f} MB, +{left / MB:.0f} MB"
        )
        for what, worst in (
            ("most MB more at a peak", grown // MB),
            ("most MB more at the end", left // MB),
            ("most ms at p99 in an attack", round(during * 1e3)),
            ("most ms at p99 without", round(base * 1e3)),
        ):
            course.facts[what] = max(course.facts[what], worst)
        if grown > PEAK or left > LEFT:
            got = f"{grown / MB:.0f}, {left / MB:.0f}"
            raise Disproved(f"{name}: expected {PEAK // MB} MB more at most, {LEFT // MB} at the end, got {got}")
        if during > max(TIMES * base, FLOOR_S):
            raise Late(
                f"{name}: expected a p99 of {max(TIMES * base, FLOOR_S) * 1e3:.1f} ms at most, got {during * 1e3:.1f}"
            )
        if trouble := host.trouble():
            raise Disproved(f"{name}: expected no error in the log, got {trouble}")


def prove(course: Course) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for case in course.cases():
            for tries in range(TRIES, 0, -1):
                try:
                    runner.run(one(course, BOMBS[case % len(BOMBS)]))
                    break
                except Late:
                    if tries == 1:
                        raise
                    course.facts["measured again"] += 1
                finally:
                    runner.run(asyncio.sleep(PAUSE_S))  # the loop closes what was cut


PROOF = Proof(
    "bombs",
    "No small input takes much of the server: nesting, compression, fragments, heads, half handshakes and those who "
    "don't read are refused in bounded memory, and a good neighbour hardly notices.",
    "bombs",
    short=len(BOMBS),
    long=len(BOMBS),
    prove=prove,
)
