"""Patterns of streaming: text cut where a reader wants it, held for a moment, or given up when it does not come.

The one rule: nothing is lost, doubled or reordered; a combinator only decides when text is let through.

The combinators are async generators. Each holds its source: closing one (`contextlib.aclosing`; a generator that is
the agent itself is closed by `turn.drive`) closes the source, in the task that iterated it. None yields inside a time
limit or a task group, so a cancellation meets the agent where it stands, and only there.

    async with aclosing(buffered(chunked(answer, "word"), count=80, seconds=0.2)) as pieces:
        async for piece in pieces:
            yield piece
"""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, TypeVar, cast

from .errors import RunError

T = TypeVar("T")

ChunkMode = Literal["token", "word", "sentence"]

HELD = 1024
"""Characters held back at most for a word's or sentence's end; text without one is let through then."""

_WORD = re.compile(r"\s+(?=\S)|\s+\Z")
_SENTENCE = re.compile(
    r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+[”’」』）]*|\n+"  # noqa: RUF001 - marks of other scripts are meant
)


def boundary(text: str, mode: ChunkMode) -> int:
    """How many characters of `text` can be let through in this mode: up to the end of the last whole word or sentence.

    A word ends with the white space behind it. A sentence ends with its mark and the white space behind it (so that
    "3.14" is not cut), with a full-width mark, or at a line's end.
    """
    match mode:
        case "token":
            return len(text)
        case "word":
            cut = len(text.rstrip())
            if cut < len(text):
                return len(text)
            ends = [m.end() for m in _WORD.finditer(text)]
        case "sentence":
            ends = [m.end() for m in _SENTENCE.finditer(text)]
    return ends[-1] if ends else 0


async def chunked(source: AsyncIterable[str | T], mode: ChunkMode) -> AsyncGenerator[str | T]:
    """The text of `source` in whole words or sentences, as `boundary` knows them.

    Anything that is no text passes at once, behind the text that came before it; so does the end, and an error. A word
    or sentence without an end is held up to `HELD` characters.
    """
    held = ""
    problem: Exception | None = None
    async with _closing(source) as items:
        while True:
            try:
                item = await anext(items)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - raised on, behind the text that came before it
                problem = error
                break
            if isinstance(item, str):
                held += item
                cut = boundary(held, mode) or (len(held) if len(held) > HELD else 0)
                if cut:
                    ready, held = held[:cut], held[cut:]
                    yield ready
                continue
            if held:
                ready, held = held, ""
                yield ready
            yield item
        if held:
            yield held
    if problem is not None:
        raise problem


async def buffered(source: AsyncIterable[str | T], *, count: int, seconds: float) -> AsyncGenerator[str | T]:
    """The text of `source`, joined until `count` characters are there, or until `seconds` have passed since the first
    of them came, whichever is first: so it is never later by more than that for a reader that waits for it.

    Anything that is no text passes at once, behind the text that came before it; so does the end, and an error. Reads
    ahead by what makes one piece and the item behind it. The source is iterated and closed in a task of its own, which
    is gone when this generator is.
    """
    pump = _Pump(source, count)
    reading = asyncio.create_task(pump.run(), name="buffered")
    try:
        while True:
            if not (pump.held or pump.ready):
                await pump.wait()
            if not pump.ready:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(pump.since + seconds):
                        while not pump.ready:
                            await pump.wait()
            over = pump.over
            for item in pump.take():
                yield item
            if over:
                break
    finally:
        await _gone(reading)
    if pump.problem is not None:
        raise pump.problem


class _Pump:
    """What `buffered` has read and not let through."""

    def __init__(self, source: AsyncIterable[Any], count: int) -> None:
        self._source = source
        self._count = count
        self.held: list[Any] = []
        self.since = 0.0
        """When the first of `held` came, on the loop's clock."""
        self.ready = False
        """`held` is not to be held any longer."""
        self.over = False
        """The source came to its end, or to `problem`."""
        self.problem: BaseException | None = None
        self._size = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            async with _closing(self._source) as items:
                async for item in items:
                    while self.ready:
                        self._room.clear()
                        await self._room.wait()
                    if not self.held:
                        self.since = clock()
                    self.held.append(item)
                    if isinstance(item, str):
                        self._size += len(item)
                    self.ready = self._size >= self._count or not isinstance(item, str)
                    self._news.set()
        except BaseException as error:  # noqa: BLE001 - it is the reader's, not this task's: SystemExit ends an agent, not a server
            self.problem = error
        finally:
            self.over = self.ready = True
            self._news.set()

    async def wait(self) -> None:
        """Return when something has come."""
        self._news.clear()
        await self._news.wait()

    def take(self) -> list[Any]:
        """All that is held, the text joined."""
        held, self.held = self.held, []
        self._size, self.ready = 0, False
        self._room.set()
        texts = [item for item in held if isinstance(item, str)]
        text = "".join(texts)
        return [*([text] if text else []), *held[len(texts) :]]


async def timed(
    source: AsyncIterable[T], *, first: float | None = None, silence: float | None = None, total: float | None = None
) -> AsyncGenerator[T]:
    """`source`, unless it is late: then `RunError` is raised at the reader, and the source is closed first.

    first: seconds until the first item, `first_event_timeout`. silence: seconds until the next item is there, from
    when it is asked for, `silence_timeout`. total: seconds from the beginning to the end, the reader's own time too,
    `run_timeout`. None: no such limit. The source is iterated in the reader's own task.
    """
    clock = asyncio.get_running_loop().time
    end = math.inf if total is None else clock() + total
    limit, code, what = first, "first_event_timeout", "to begin"
    async with _closing(source) as items:
        while True:
            now = clock()
            due = end if limit is None else min(now + limit, end)
            if due == end:
                limit, code, what = total, "run_timeout", "to end"
            scope = asyncio.timeout_at(None if math.isinf(due) else due)
            try:
                async with scope:
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not scope.expired():
                    raise  # the source's own
                raise _late(code, what, limit) from None
            if scope.expired() or clock() >= end:
                raise _late(code, what, limit)  # it swallowed its cancellation, or never waits
            limit, code, what = silence, "silence_timeout", "to go on"
            yield item


def _late(code: str, what: str, limit: float | None) -> RunError:
    return RunError(f"The answer was expected {what} within {limit or 0:g} s and did not.", code=code)


@asynccontextmanager
async def _closing(source: AsyncIterable[T]) -> AsyncGenerator[AsyncIterator[T]]:
    """The iterator of `source`, which is closed behind the block where it can be."""
    items = aiter(source)
    try:
        yield items
    finally:
        if hasattr(items, "aclose"):
            await cast("AsyncGenerator[T]", items).aclose()


async def _gone(task: asyncio.Task[None]) -> None:
    """Cancel `task` and return when it is gone. Who cancels the caller meanwhile cancels it once more."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as again:
            cancelled = again
    if cancelled is not None:
        raise cancelled
