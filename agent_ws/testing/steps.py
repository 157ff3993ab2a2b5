"""Event loops that do something between two of their steps, at a step that a sweep chooses.

The one rule: nothing is added to the program that is swept. The loop itself counts, where it looks what is ready, so a
task that waits for a thread or a timer takes one step however long that is, and at each step something ran.

    loop.steps.arm(17, session.interrupt)     # before the 18th step from here
    ...                                       # let the program come to its end
    whole = not loop.steps.disarm()           # it ended by itself before that
"""

import asyncio
import selectors
from collections.abc import Callable

QUIET_S = 0.05
"""Where nothing is ready for so long, and `quiet` was asked for, nothing ever will be: a provider that hangs."""


class Steps:
    """What is to be done, and when."""

    def __init__(self) -> None:
        self._left = 0
        self._do: Callable[[], object] | None = None
        self._armed = False
        self._quiet = False
        self.silent = False
        """It was done because nothing moved any more, not because the step had come."""

    def arm(self, after: int, do: Callable[[], object], *, quiet: bool = False) -> None:
        """Call `do` once, after so many steps; with `quiet` also where nothing moves any more."""
        self._left, self._do, self._armed = after, do, True
        self._quiet, self.silent = quiet, False

    def disarm(self) -> bool:
        """Whether it was done. It will not be any more."""
        self._do, armed, self._armed = None, self._do is not None, False
        return not armed

    def select(
        self, select: Callable[[float | None], list[tuple[selectors.SelectorKey, int]]], timeout: float | None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """One look at what is ready, around the selector's own."""
        if self._do is None:
            return select(timeout)
        if self._left == 0:
            return self._act(select)
        self._left -= 1
        if self._quiet and (timeout is None or timeout > QUIET_S):
            return select(QUIET_S) or self._act(select, silent=True)
        return select(timeout)

    def _act(
        self,
        select: Callable[[float | None], list[tuple[selectors.SelectorKey, int]]],
        *,
        silent: bool = False,
    ) -> list[tuple[selectors.SelectorKey, int]]:
        do, self._do, self.silent = self._do, None, silent
        assert do is not None  # noqa: S101 - for the type checker: `select` looks before
        do()
        return select(0)


class _Selector(selectors.DefaultSelector):
    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._steps.select(super().select, timeout)


class SteppedLoop(asyncio.SelectorEventLoop):
    """In real time, with sockets and threads."""

    def __init__(self) -> None:
        self.steps = Steps()
        super().__init__(_Selector(self.steps))
