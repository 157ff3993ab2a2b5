"""What goes wrong where nobody looks: an exception that reaches the event loop, a logged error, a task that is left.

The one rule: a fault that is answered is no bug; one that is only logged is.
"""

import asyncio
import logging
from types import TracebackType
from typing import Self

from .proof import Disproved


class Bugs(logging.Handler):
    """A context inside a loop, around the server. Raises `Disproved` at its end, or when `check` is called.

    secret: what no line of the log may hold.
    """

    def __init__(self, *, secret: str = "") -> None:
        super().__init__(logging.WARNING if secret else logging.ERROR)
        self._secret = secret
        self._found: list[str] = []
        self._logger = logging.getLogger("agent_ws")
        self._before: set[asyncio.Task[object]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or self._secret in record.getMessage():
            self._found.append(f"{record.levelname} {record.getMessage()} {record.exc_info or ''}")

    def __enter__(self) -> Self:
        self._before = asyncio.all_tasks()
        self._logger.addHandler(self)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._found.append(str(context)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self)
        if kind is None:
            if left := asyncio.all_tasks() - self._before:
                raise Disproved(f"expected no task to be left, got {left}")
            self.check()

    def check(self) -> None:
        """Raise what was found until now."""
        if self._found:
            raise Disproved(f"expected no bug, got {self._found[0]}")
