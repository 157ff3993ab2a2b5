"""A program at the other end of a terminal."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from processes import DEADLINE

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][A-Z0-9]?|\r")

WHERE = b"\x1b[6n"
"""The question where the cursor is."""


class Terminal:
    """A terminal of 30 rows and 100 columns, and `agent-ws` with some arguments in it."""

    def __init__(self, process: asyncio.subprocess.Process, own: int, its: int) -> None:
        self.process = process
        self._own = own
        self._its = its
        """Held open, so that what is left in it can be read and its state looked at when the program is gone."""
        self._raw = b""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(own, self._read)

    @classmethod
    async def start(cls, *arguments: str, home: Path, message: bytes | None = None) -> "Terminal":
        """With a `message` that comes over a pipe, and only what is written is in the terminal."""
        own, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        root = str(Path(__file__).parents[2])
        more = {"TERM": "xterm", "XDG_STATE_HOME": str(home), "PYTHONPATH": root}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent_ws", *arguments),
            stdin=its if message is None else asyncio.subprocess.PIPE,
            stdout=its,
            stderr=its,
            cwd=root,
            env=os.environ | more,
            start_new_session=True,
        )
        if process.stdin is not None:
            process.stdin.write(message or b"")
            process.stdin.close()
        return cls(process, own, its)

    def _read(self) -> None:
        data = os.read(self._own, 65_536)
        for _ in range(data.count(WHERE)):
            os.write(self._own, b"\x1b[1;1R")  # the cursor is at the top, so there is room for everything
        self._raw += data
        self._more.set()

    @property
    def text(self) -> str:
        """All that was written, without the codes that move the cursor and colour the text."""
        return CODES.sub("", self._raw.decode(errors="replace"))

    @property
    def cooked(self) -> bool:
        """The terminal is as it was: it echoes, and gives out whole lines."""
        flags = termios.tcgetattr(self._its)[3]
        return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)

    async def says(self, pattern: str, after: int = 0) -> int:
        """Wait until it has written this, behind the place `after`. Returns the place behind it."""
        async with asyncio.timeout(DEADLINE):
            try:
                while (found := re.compile(pattern).search(self.text, after)) is None:
                    self._more.clear()
                    await self._more.wait()
            except asyncio.CancelledError:
                raise AssertionError(f"expected {pattern!r}, got {self.text[after:]}") from None
        return found.end()

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    async def exit(self) -> int:
        """Wait for its end. Returns the exit status."""
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._own)
        os.close(self._own)
        os.close(self._its)
