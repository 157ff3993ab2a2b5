"""Waiting for what has to come.

The one rule: every wait has a deadline, and ends at once where a promise is broken or the connection is over.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ..events import Thinking
from .client import Client, Frame, Got
from .patterns import frame_pattern, matches
from .stage import Stage
from .steps import After

SHOWN = 8
"""Frames that are named where something else was expected."""


class Failed(Exception):
    """What a step expects does not hold. `client` is the one that it is about."""

    def __init__(self, message: str, client: Client | None = None) -> None:
        super().__init__(message)
        self.client = client


class Order(Struct):
    """What holds for all that passes while one step waits."""

    passed: list[Frame]
    """Frames that came and were not what was waited for."""
    none: list[Frame]
    """What must not come."""
    most: int | None = None
    """How many may pass."""


async def seek(client: Client, pattern: Frame, within: float, order: Order | None = None) -> Got:
    """The next frame that looks like this. Raises `Failed`."""
    order = order or Order([], [])
    due = asyncio.get_running_loop().time() + within
    while True:
        promised(client)
        client.news.clear()
        got = client.seek(pattern, order.passed)
        passed = order.passed if got is not None else [*order.passed, *client.ahead(pattern)]
        _check(client, pattern, passed, order)
        if got is not None:
            return got
        if not client.open:
            last = client.frames[-1].frame if client.frames else "nothing"
            raise Failed(f"expected {name_of(pattern)}, got the end of the connection: {last}", client)
        await _news(client, due, f"expected {name_of(pattern)} within {within:g} s, got {_summary(passed)}")


async def until(client: Client, true: Callable[[], bool], what: str, within: float) -> None:
    """Wait for what frames bring about; none of them is passed. Raises `Failed`."""
    due = asyncio.get_running_loop().time() + within
    while not true():
        promised(client)
        client.news.clear()
        if not client.open:
            raise Failed(f"expected {what}, got the end of the connection", client)
        await _news(client, due, f"expected {what} within {within:g} s, got nothing")


async def come(stage: Stage, client: Client, after: After | None) -> None:
    """Wait for all that a step waits for."""
    if after is None:
        return
    if (chars := after.chars) is not None:
        await until(client, lambda: client.chars >= chars, f"{chars} characters of the answer", stage.within)
    for pattern in (
        {"type": "section_start", "section": after.section} if after.section is not None else None,
        {"type": "tool_start", "name": after.tool} if after.tool is not None else None,
        stage.pattern(after.frame) if after.frame is not None else None,
    ):
        if pattern is not None:
            await until(client, lambda wanted=pattern: client.has(wanted), name_of(pattern), stage.within)


def promised(client: Client) -> None:
    """Raise `Failed` where a promise is broken."""
    if client.broken is not None:
        raise Failed(f"a promise is broken: {client.broken}", client)


def text_of(client: Client, run: str | None = None, kind: str = "content") -> str:
    """The text of a run, or of the newest one that has begun, without what was taken back."""
    views = [view for view in client.judge.views() if (view.run == run if run else view.started)]
    if not views:
        return ""
    if kind == "content":
        return views[-1].text()
    return "".join(event.data for event in views[-1].events if isinstance(event, Thinking))


def name_of(pattern: str | Frame) -> str:
    """A pattern, for people."""
    fields = frame_pattern(pattern)
    if list(fields) == ["type"] and isinstance(fields["type"], str):
        return f"`{fields['type']}`"
    return f"a frame like {fields}"


def _check(client: Client, pattern: Frame, passed: list[Frame], order: Order) -> None:
    for frame in passed:
        if any(matches(one, frame) for one in order.none):
            names = ", ".join(name_of(one) for one in order.none)
            raise Failed(f"expected none of {names} before {name_of(pattern)}, got {frame}", client)
    if order.most is not None and len(passed) > order.most:
        raise Failed(f"expected {name_of(pattern)} after at most {order.most} others, got {_summary(passed)}", client)


async def _news(client: Client, due: float, what: str) -> None:
    try:
        async with asyncio.timeout_at(due):
            await client.news.wait()
    except TimeoutError:
        raise Failed(what, client) from None


def _summary(frames: list[Any]) -> str:
    if not frames:
        return "nothing"
    kinds = [str(frame["type"]) for frame in frames]
    return f"{len(kinds)} frames: {'… ' if len(kinds) > SHOWN else ''}{', '.join(kinds[-SHOWN:])}"
