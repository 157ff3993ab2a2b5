"""A function in a thread of its own, for work that nothing can stop.

The one rule: nobody has to wait for it. The loop doesn't; no pool is used up by work that hangs; and the process can
end, which a thread of an executor would hold.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct


class Threw(Exception):
    """Something was raised in a thread. `error` itself could end a task, or the server, where it was raised again."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Ended(Struct, frozen=True):
    """How it ended: with a value or with an error."""

    value: Any = None
    error: BaseException | None = None


def begin(work: Callable[[], Any], name: str) -> asyncio.Future[Ended]:
    """Start `work` in a thread that has the caller's context variables.

    The future never fails, so it may be dropped; cancelling it stops nothing. Raises `RuntimeError` where the system
    has no thread left.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Ended] = loop.create_future()
    context = contextvars.copy_context()

    def tell(ended: Ended) -> None:
        if not future.done():
            future.set_result(ended)

    def run() -> None:
        try:
            ended = Ended(context.run(work))
        except BaseException as error:  # noqa: BLE001 - a thread has nobody above it, so SystemExit is told too
            ended = Ended(error=error)
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(tell, ended)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
