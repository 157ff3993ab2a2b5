"""Real server processes and real clients. The one rule: nobody sleeps; each wait is for something, with a deadline."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent_ws.events import Content
from agent_ws.testing.invariants import Copy

HERE = Path(__file__).parent / "process"
"""Where the agents are that they serve."""
DEADLINE = 15.0
"""Seconds for anything that should take less than one. Generous: a machine may be busy."""


class Server:
    """One server process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        """All that it has printed, to either stream."""
        self._more = asyncio.Event()
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)]

    @classmethod
    async def start(cls, *arguments: str) -> "Server":
        path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=HERE,
                env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.output += line.decode()
            self._more.set()
        self._more.set()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed this."""
        async with asyncio.timeout(DEADLINE):
            while (found := re.search(pattern, self.output)) is None:
                assert not all(reader.done() for reader in self._readers), f"expected {pattern!r}, got {self.output}"
                self._more.clear()
                await self._more.wait()
        return found

    async def port(self) -> int:
        """Wait until it serves."""
        return int((await self.says(r"agent-ws serves on http://127\.0\.0\.1:(\d+) "))[1])

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """`kill -9`."""
        if self.process.returncode is None:
            self.process.kill()
        await self.exit()

    async def exit(self, within: float = DEADLINE) -> int:
        """Wait for its end. Returns the exit status."""
        async with asyncio.timeout(within):
            status = await self.process.wait()
        await asyncio.gather(*self._readers)
        return status


class Tab:
    """A client that follows PROTOCOL.md; its copy outlives its connections."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.copy = Copy()
        self.session: dict[str, Any] = {}
        """The last `session` frame, with the token of the first."""
        self._socket: ClientConnection | None = None
        self._frames: list[dict[str, Any]] = []
        """What came on this connection."""

    async def connect(self, server: Server | None = None) -> None:
        """Come, or come back with the cursor."""
        self.server = server or self.server
        url = f"ws://127.0.0.1:{await self.server.port()}/ws"
        self._socket = await connect(url, compression=None, proxy=None, open_timeout=DEADLINE)
        self._frames = []
        back = {key: self.session[key] for key in ("session", "token") if key in self.session}
        await self.send({"type": "hello"} | back | self.copy.come_back())
        await self.until("session")

    def new_window(self) -> "Tab":
        """The same session without a copy."""
        tab = Tab(self.server)
        tab.session = self.session
        return tab

    async def send(self, frame: dict[str, Any]) -> None:
        assert self._socket is not None
        await self._socket.send(msgspec.json.encode(frame).decode())

    async def receive(self) -> dict[str, Any]:
        assert self._socket is not None
        async with asyncio.timeout(DEADLINE):
            frame: dict[str, Any] = msgspec.json.decode(await self._socket.recv())
        self.copy.take(frame)
        self._frames.append(frame)
        if frame["type"] == "session":
            self.session = {"token": self.session.get("token")} | frame
        return frame

    async def until(self, kind: str, run: str | None = None) -> dict[str, Any]:
        """The next frame of this type; with `run` the first on this connection, which may have come already."""
        if run is not None:
            for frame in self._frames:
                if frame["type"] == kind and frame.get("run") == run:
                    return frame
        while True:
            frame = await self.receive()
            if frame["type"] == kind and run in (None, frame.get("run")):
                return frame

    async def say(self, data: str, **options: str) -> str:
        """Say it and wait for `accepted`, which events of its run may overtake. Returns the run."""
        await self.send({"type": "message", "data": data, **options})
        return (await self.until("accepted"))["run"]

    async def closed(self) -> int:
        """Receive to the end. Returns the close code."""
        assert self._socket is not None
        try:
            while True:
                await self.receive()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006

    async def leave(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    @property
    def accepted(self) -> set[str]:
        """The messages that were acknowledged on this connection."""
        return {frame["id"] for frame in self._frames if frame["type"] == "accepted"}

    def text(self, run: str) -> str:
        return "".join(e.data for e in self.copy.events if isinstance(e, Content) and e.run == run)

    def kinds(self, run: str) -> list[str]:
        """The types of the run's events."""
        return [type(event).__name__ for event in self.copy.events if event.run == run]


Serve: TypeAlias = Callable[..., Awaitable[Server]]
Open: TypeAlias = Callable[[Server], Awaitable[Tab]]
