"""One HTTP stream: which events of which session it has, when it is over, and how its bytes leave.

The one rule: every frame carries the place behind it, so a client that was cut off at any byte comes back to exactly
there.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Receive, Send

from ..cursor import Cursor
from ..dialects import Dialect, Place
from ..errors import FrameError
from ..events import ENDINGS, Content, Thinking, User
from ..frames import Accepted, LimitsNotice, Reset, SessionFrame, control_error
from ..log import Position
from ..session import Accepted as Taken
from ..session import Session
from ..settings import Settings

PIECE = 32_768
"""Bytes that are handed over at once. More would lie in the server's memory for a client that reads slowly, and would
look like a stall where it only takes its time.
"""


class Stream:
    """The frames of `run`, or of all runs where it is empty, from `cursor` on.

    token: of a session that is new. taken: the request's own message. resumed: the client said where it was.
    """

    def __init__(
        self,
        session: Session,
        cursor: Cursor,
        settings: Settings,
        *,
        run: str = "",
        token: str | None = None,
        taken: Taken | None = None,
        resumed: bool = False,
    ) -> None:
        self._session = session
        self._cursor = cursor
        self._settings = settings
        self._run = run
        self._token = token
        self._taken = taken
        self._resumed = resumed
        self._refusal: FrameError | None = None
        self._conclusion: FrameError | None = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """The log has grown. To be called while the stream is read."""
        self._wake.set()

    def refuse(self, error: FrameError) -> None:
        """End it at once: `error` is its last frame, and nothing says that it was complete."""
        self._refusal = error
        self._wake.set()

    def conclude(self, error: FrameError) -> None:
        """The same, behind what was interrupted by it."""
        self._conclusion = error
        self._wake.set()

    def promises(self) -> bool:
        """Whether it has or will have anything to send."""
        if self._cursor.reset is not None or self._session.is_open(self._run):
            return True
        events = self._session.log.read(self._cursor.seq)
        if not self._run:
            return bool(events)
        return any(event.run == self._run and isinstance(event, ENDINGS) for event in events)

    async def chunks(self, dialect: Dialect) -> AsyncGenerator[bytes]:
        """The stream's bytes, in pieces that are each to be sent at once."""
        cursor, session = self._cursor, self._session
        clock, silence = asyncio.get_running_loop().time, self._settings.timeouts.heartbeat
        place = self._place(cursor.seq, cursor.part)
        yield b"".join(dialect.control(frame, place) for frame in self._head())
        spoke = clock()
        while self._refusal is None:
            self._wake.clear()  # before looking, so that nothing which comes meanwhile is missed
            # Asked before the log is read: what an ending run wrote is then surely in what is read.
            # While the session is being deleted nobody knows yet how this ends.
            over = not (session.is_open(self._run) or session.leaving)
            piece = bytearray()
            for event in cursor.pull():
                if self._run and event.run != self._run:
                    continue
                place = self._place(event.seq, event.part if isinstance(event, Content | Thinking) else 0)
                piece += dialect.event(event, place)
                if self._run and isinstance(event, ENDINGS):
                    moved = self._moved(event.seq)
                    over = moved is None
                    if moved is None:
                        break
                    self._run = moved
                if len(piece) >= PIECE:
                    yield bytes(piece)
                    piece.clear()
                    spoke = clock()
                    if self._refusal is not None:
                        break
            else:
                over = over and not cursor.behind
            if self._refusal is not None:
                break
            if over:
                yield bytes(piece) + dialect.end(place)
                return
            if self._conclusion is not None:
                yield bytes(piece) + dialect.control(control_error(self._conclusion), place)
                return
            # The silence is the client's: events of other runs don't end it.
            if not piece and clock() >= spoke + silence:
                piece += dialect.heartbeat
            if piece:
                yield bytes(piece)
                spoke = clock()
            if cursor.behind:
                await asyncio.sleep(0)  # neither reading nor sending waits where there is room
                continue
            try:
                due = spoke + silence if cursor.due is None else min(spoke + silence, cursor.due)
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                pass  # and around: time for a heartbeat, or for text that was held
        yield dialect.control(control_error(self._refusal), place)

    def _place(self, seq: int, part: int) -> Place:
        return Place(self._session.id, Position(self._session.log.epoch, seq, part), self._run)

    def _moved(self, ending: int) -> str | None:
        """The run that got the message where the one that it was for has ended, at `ending`, without taking it."""
        if self._taken is None or self._taken.outcome != "steered":
            return None
        events = self._session.log.read(ending)
        return next((e.run for e in events if isinstance(e, User) and e.id == self._taken.id), None)

    def _head(self) -> list[SessionFrame | Reset | Accepted]:
        log, limits = self._session.log, self._settings.limits
        head: list[SessionFrame | Reset | Accepted] = [
            SessionFrame(
                session=self._session.id,
                token=self._token,
                epoch=log.epoch,
                after=self._cursor.seq,
                tail=log.tail,
                resumed=self._resumed and self._cursor.reset is None,
                limits=LimitsNotice(limits.message_bytes, limits.queued),
            )
        ]
        if self._cursor.reset is not None:
            head.append(Reset(log.epoch, self._cursor.reset))
        if self._taken is not None:
            head.append(Accepted(self._taken.id, self._taken.run, self._taken.outcome))
        return head


async def gzipped(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Compress, flushing behind each piece: nothing waits in the compressor."""
    packer = zlib.compressobj(wbits=31)
    async with aclosing(chunks):
        async for chunk in chunks:
            yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


async def pour(chunks: AsyncGenerator[bytes], headers: list[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
    """Send `chunks` as a response until they end or the client goes. Only `receive` tells that it has gone."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        writing.cancel()

    async def write() -> None:
        async with aclosing(chunks):
            try:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except OSError:
                pass  # gone: a detach

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write(), name="http writer")
        watching = group.create_task(gone(), name="http watcher")
        await asyncio.wait({writing})
        watching.cancel()
