"""A server in a process of its own, and a client that it treats well. The one rule: what it says is kept in a file."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from uuid import uuid4

from wire import Net, RawWebSocket

from proofs.proof import Disproved

HERE = Path(__file__).parent
DEADLINE_S = 30.0
"""For the start and the end of a process."""
SERVED = (str(HERE / "served.py"),)


class Host:
    """One running server."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log
        self._read = 0

    @property
    def memory(self) -> int:
        """Bytes that it has in memory (RSS)."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def trouble(self) -> str:
        """What it has logged since the last look that it should not: a traceback, an error. Empty: nothing."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            news = file.read()
        self._read += len(news)
        text = news.decode(errors="replace")
        found = re.search(r"^Traceback|^\S+ \S+ (ERROR|CRITICAL) .*", text, re.MULTILINE)
        return text[found.start() : found.start() + 3000] if found else ""

    async def census(self) -> Mapping[str, int]:
        """How many tasks and descriptors it has, while one client is there."""
        net = Net(self.port)
        try:
            socket = await net.websocket()
            socket.send('{"message": "census"}')
            return json.loads((await socket.until("content"))["data"])
        finally:
            net.close()


@asynccontextmanager
async def hosting(folder: Path, *words: str) -> AsyncGenerator[Host]:
    """`python *words`, until it is told to stop: then it has to end in order."""
    log = folder / f"{uuid4().hex}.log"
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent), str(HERE)])
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while (
                found := re.search(rb"serves on http://[\d.]+:(\d+) ", line := await process.stdout.readline())
            ) is None:
                if not line:
                    raise Disproved(f"expected a server, got {log.read_text()[-2000:]}")
        host = Host(process, int(found[1]), log)
        yield host
        process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            status = await process.wait()
        trouble = host.trouble()
        if status != 0 or trouble:
            raise Disproved(f"expected an orderly end, got {status}: {trouble}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Neighbour:
    """A client that does nothing wrong: it pings all the time, and reads a stream that never ends. A context."""

    def __init__(self, port: int) -> None:
        self._net = Net(port)
        self._tasks: list[asyncio.Task[None]] = []
        self.pongs: list[float] = []
        """Seconds from each ping to its pong."""
        self.gaps: list[float] = []
        """Seconds between tokens."""

    async def __aenter__(self) -> Self:
        pinging, reading = await self._net.websocket(), await self._net.websocket()
        pinging.send('{"type": "hello"}')
        await pinging.until("session")
        reading.send('{"message": "stream"}')
        await reading.until("content")
        self._tasks = [asyncio.create_task(self._ping(pinging)), asyncio.create_task(self._stream(reading))]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._net.close()

    def check(self) -> None:
        """Raise what went wrong: an answer that did not come, a connection that was cut."""
        for task in self._tasks:
            if task.done():
                task.result()
                raise Disproved("expected the neighbour to be served on, got its end")

    def forget(self) -> None:
        """Begin to measure anew."""
        self.pongs, self.gaps = [], []

    async def _ping(self, socket: RawWebSocket) -> None:
        clock = asyncio.get_running_loop().time
        number = 0
        while True:
            number += 1
            sent = clock()
            socket.send(json.dumps({"type": "ping", "data": str(number)}))
            answer = json.loads(await _message(socket))
            if answer != {"type": "pong", "data": str(number)}:
                raise Disproved(f"expected a pong, got {answer}")
            self.pongs.append(clock() - sent)
            await asyncio.sleep(0.025)  # as often as a client may send

    async def _stream(self, socket: RawWebSocket) -> None:
        clock = asyncio.get_running_loop().time
        last = clock()
        while True:
            frame = json.loads(await _message(socket))
            if frame["type"] == "accepted":
                continue  # events may overtake it
            if frame["type"] != "content" or frame["data"].replace("token ", ""):
                raise Disproved(f"expected tokens, got {frame}")
            self.gaps.append(clock() - last)
            last = clock()


async def _message(socket: RawWebSocket) -> bytes:
    """The next one; pings are answered."""
    while True:
        opcode, payload = await socket.receive()
        if opcode == 1:
            return payload
        if opcode != 9:
            raise Disproved(f"expected to be served on, got a frame of opcode {opcode}: {payload[:50]!r}")
        socket.send(payload, opcode=10)
