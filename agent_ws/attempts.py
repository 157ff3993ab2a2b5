"""Trying again: the same model after a pause, then the next one, then without streaming.

The one rule: before the next attempt everything that the failed one wrote is taken back, on the screen and in the
history; what can't be taken back, a tool that ran or words of the user's that were taken, makes it the last. Where
nothing comes after it, what it wrote stays.
"""

import asyncio
import logging
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Generic, TypeVar

from msgspec import Struct

from .errors import AgentWsError, RunError
from .journal import note
from .turn import Agent, Mark, Turn, drive

T = TypeVar("T")


SHARE = 0.75
"""Of the time in which the run has to say something."""


class Retry(Struct, frozen=True, kw_only=True):
    """How often something is tried, and how long what may take, in seconds. The limits of time are those of one
    attempt, and cut to `SHARE` of the run's own, which end the run and with it all attempts.
    """

    attempts: int = 3
    """With each model, the first one included."""
    base: float = 0.5
    """The pause behind attempt n is drawn between nothing and `base` times 2 to the n - 1, at most `cap`."""
    cap: float = 8.0
    patience: float = 30.0
    """How long a provider may ask to wait (`retry-after`). One that asks for more is given up at once."""
    first: float = 45.0
    """To the first event: `first_event_timeout`."""
    silence: float = 45.0
    """Between two events, unless a tool runs or the user is asked: `silence_timeout`."""
    total: float = 300.0
    """As a whole: `run_timeout`."""
    whole: float = 45.0
    """The same for the last attempt, which asks for the answer in one piece, so that nothing is shown meanwhile.
    0: there is none."""
    random: Callable[[], float] = random.random
    """Draws from [0, 1)."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"expected at least 1 attempt, got {self.attempts}")

    def pause(self, attempt: int, failure: RunError) -> float | None:
        """Seconds to wait behind attempt number `attempt`, which failed. None: it is not tried again.

        The whole pause is drawn, not a part of it: clients that failed together must not come back together.
        """
        if attempt >= self.attempts or not self.hopeful(failure):
            return None
        return (failure.wait or 0.0) + self.random() * min(self.cap, self.base * 2.0 ** (attempt - 1))

    def hopeful(self, failure: RunError) -> bool:
        """Whether the same may succeed before our patience ends."""
        return failure.retry and (failure.wait or 0.0) <= self.patience


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a provider asks to wait before the next request. None: it doesn't say."""
    text = headers.get("retry-after-ms", "")
    if re.fullmatch("[0-9]{1,9}", text):
        return int(text) / 1000
    text = headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


class Rung(Struct, Generic[T], frozen=True):
    """One of those who may be able to do it."""

    name: str
    """As the user reads it."""
    attempt: Callable[[], Awaitable[T]]
    """Does it or raises `RunError`, whose `retry` and `wait` say what may help. Whatever else it raises ends the climb.
    """
    whole: Callable[[], Awaitable[T]] | None = None
    """The same without streaming."""


async def climb(turn: Turn, rungs: Sequence[Rung[T]], retry: Retry) -> T:
    """Try one rung after the other until one does it; raise the last error if none does.

    When none could stream it, the first one for which there is hope is asked for the whole answer in one piece.
    """
    mark = turn.mark()
    spare: Rung[T] | None = None
    failure = RunError("expected at least one that can be asked, got none")
    for place, rung in enumerate(rungs):
        if place:
            turn.take_back_to(mark)
            turn.status("fallback", rung.name)
        try:
            return await _persist(turn, rung.attempt, retry, mark)
        except RunError as error:
            failure = error
        if spare is None and rung.whole is not None and retry.whole and retry.hopeful(failure):
            spare = rung
    if spare is None or spare.whole is None:
        raise failure
    turn.take_back_to(mark)
    turn.status("degraded", spare.name, streamed=False)
    async with limited(turn, first=retry.whole, silence=retry.whole, total=retry.whole):
        return await spare.whole()


async def _persist(turn: Turn, attempt: Callable[[], Awaitable[T]], retry: Retry, mark: Mark) -> T:
    """Make attempts until one succeeds; raise the last error when another would be no use."""
    number = 1
    while True:
        try:
            async with limited(turn, first=retry.first, silence=retry.silence, total=retry.total):
                return await attempt()
        except RunError as error:
            failure = error
        pause = retry.pause(number, failure)
        if pause is None or pause > SHARE * turn.timeouts.silence:
            raise failure
        number += 1
        turn.take_back_to(mark)
        turn.status("retrying", str(failure), attempt=number)
        await asyncio.sleep(pause)


@asynccontextmanager
async def limited(turn: Turn, *, first: float, silence: float, total: float) -> AsyncGenerator[None]:
    """Do something within limits of time. What ran out is the code of the `RunError` that is raised.

    It is a timer that looks when the run last wrote, so a token costs nothing. Where several agents speak in one run,
    what another one writes counts as well.
    """
    loop = asyncio.get_running_loop()
    began, before = loop.time(), turn.written
    silence = min(silence, SHARE * turn.timeouts.silence)
    first = min(first, SHARE * (turn.timeouts.silence if before else turn.timeouts.first_event))
    timer: asyncio.TimerHandle | None = None
    failure: RunError | None = None

    def look() -> None:
        nonlocal failure, timer
        now = loop.time()
        limits = [(began + total, "run_timeout", "to finish", total)]
        if turn.idle_since is None:
            pass  # a tool runs, or the user is asked: nobody is late
        elif turn.written == before:
            limits.append((began + first, "first_event_timeout", "to begin", first))
        else:
            limits.append((turn.idle_since + silence, "silence_timeout", "to go on", silence))
        due, code, what, limit = min(limits)
        if due > now:
            # The limit that passes first changes: with the first event, with a tool's end.
            timer = loop.call_at(min(due, now + silence), look)
        else:
            failure = RunError(f"An attempt was expected {what} within {limit:g} s and did not.", code=code)
            scope.reschedule(now)

    try:
        async with asyncio.timeout(None) as scope:
            look()
            yield
    except TimeoutError:
        if failure is None:
            raise  # one of the attempt's own
        raise failure from None
    finally:
        if timer is not None:
            timer.cancel()


def resilient(agent: Agent, *fallbacks: Agent, retry: Retry | None = None) -> Agent:
    """`agent`, tried again when it fails, and then each of `fallbacks`: an agent to serve in its place.

    A `RunError` says whether it may pass; any other exception is taken for one that may. An attempt fails for good once
    a tool has run in it, or it has taken what the user said meanwhile.
    """
    chosen = retry or Retry()

    async def tried(turn: Turn) -> None:
        rungs = [Rung(_named(each), partial(_once, each, turn)) for each in (agent, *fallbacks)]
        try:
            await climb(turn, rungs, chosen)
        except _Foreign as error:
            raise error.error from None
        except _Spent as error:
            raise error.error from None

    return tried


class _Foreign(RunError):
    """An exception of an agent's own, on its way through `climb`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The agent failed ({type(error).__name__}).", retry=True)
        self.error = error


class _Spent(Exception):
    """What an attempt failed with that can't be made again."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def _once(agent: Agent, turn: Turn) -> None:
    mark = turn.mark()
    try:
        await drive(agent, turn)
    except Exception as error:
        if turn.ran_tools_since(mark) or turn.heard_since(mark):
            raise _Spent(error) from None
        if isinstance(error, AgentWsError):
            raise
        note(logging.WARNING, "an attempt of the agent failed", error=error, run=turn.run)
        raise _Foreign(error) from None


def _named(agent: Agent) -> str:
    return getattr(agent, "name", None) or getattr(agent, "__name__", None) or type(agent).__name__
