"""The TypeScript client in a process of its own, driven from here by `web/client/test/driver.ts`.

The one rule: what it hands on is taken by `invariants.Copy`, so every gap, double or disorder is an error at once.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from agent_ws.events import Event
from agent_ws.testing.invariants import Copy, check_copy

DEADLINE_S = 20.0
"""For anything that is expected to happen: never waited for when it does."""


class Remote:
    """One client."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.frames: list[dict[str, Any]] = []
        """The events of its copy of the log."""
        self.resets: list[str] = []
        self.states: list[dict[str, Any]] = []
        self.session: dict[str, Any] = {}
        """The newest `session` frame, with the token of the first."""
        self.told: list[dict[str, Any]] = []
        """All other lines, in their order."""
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            match msgspec.json.decode(line):
                case {"frame": {"type": "reset", "reason": reason}}:
                    self.resets.append(reason)
                    self.frames.clear()
                case {"frame": frame}:
                    self.frames.append(frame)
                case {"state": state}:
                    self.states.append(state)
                case {"session": session}:
                    self.session = {"token": self.session.get("token")} | session
                case what:
                    self.told.append(what)
            self._more.set()
        self.told.append({"gone": True})
        self._more.set()

    def call(self, call: str, *given: Any, **more: Any) -> None:
        """Let the client do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode({"call": call, "with": given, **more}) + b"\n")

    async def until(self, what: Callable[[], Any]) -> Any:
        """Wait until `what` is true of what has come, and return it."""
        async with asyncio.timeout(DEADLINE_S):
            while not (found := what()):
                assert {"gone": True} not in self.told, self.told
                self._more.clear()
                await self._more.wait()
        return found

    async def has(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Wait until an event like this is in its copy."""
        return await self.until(
            lambda: next((f for f in self.frames if f["type"] == kind and fields.items() <= f.items()), None)
        )

    async def is_(self, state: str, **fields: Any) -> dict[str, Any]:
        """Wait until its connection is in this state, now."""
        return await self.until(
            lambda: (
                self.states
                and self.states[-1]["name"] == state
                and fields.items() <= self.states[-1].items()
                and self.states[-1]
            )
        )

    async def was(self, state: str) -> None:
        """Wait until its connection has been in this state, which may have passed."""
        await self.until(lambda: any(told["name"] == state for told in self.states))

    async def tells(self, key: str) -> Any:
        """Wait for the next line with `key` among those that are not frames or states, and take it."""
        found = await self.until(lambda: next((what for what in self.told if key in what), None))
        self.told.remove(found)
        return found[key]

    async def shows(self) -> tuple[list[str], dict[str, str]]:
        """What there is to see, in lines, and the text of each run."""
        self.call("show")
        found = await self.until(lambda: next((what for what in self.told if "shown" in what), None))
        self.told.remove(found)
        return found["shown"], found["texts"]

    def check(self, log: list[Event], upto: int | None = None) -> None:
        """Its copy is what the log says: no gap, no double, nothing out of order."""
        copy = Copy()
        copy.take({"type": "session", "epoch": "e", "after": 0, "resumed": False})
        for frame in self.frames:
            copy.take(frame)
        check_copy(copy, log)
        assert upto is None or copy.cursor.seq == upto

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading


@asynccontextmanager
async def remotes(client: Path) -> AsyncGenerator[Callable[..., Any]]:
    """`await start(url, **options)` starts a client and connects it; all are gone at the end."""
    started: list[Remote] = []

    async def start(url: str | None = None, **options: Any) -> Remote:
        process = await asyncio.create_subprocess_exec(
            "node",
            "--experimental-websocket",
            "--no-warnings",
            "build/driver.js",
            cwd=client,
            env=os.environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        started.append(Remote(process))
        if url is not None:
            started[-1].call("connect", url=url, options=options)
        return started[-1]

    try:
        yield start
    finally:
        for remote in started:
            await remote.end()
