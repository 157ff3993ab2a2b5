"""An event loop whose clock is virtual: it jumps to the next timer instead of waiting for it.

For tests inside one thread, without sockets: a minute of back-off takes microseconds and always the same
course. A test runs on it by a mark:

    pytestmark = pytest.mark.virtual            # the whole file, or one test: @pytest.mark.virtual
    @pytest.mark.virtual(seeds=20)              # twenty tests, each with another order of what is ready

`asyncio.get_running_loop().time()` starts at 0.0. Sleeping is free, so a test that lets other tasks get on
says for how long: `await asyncio.sleep(1)`. Where every task waits and no timer is set, nothing can ever
happen: the test fails with `Stuck`, at once. From a plain function: `run(main(), seed=1)`.
"""

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

BUSY = 10_000
"""Iterations without a pause after which time moves a nanosecond with each."""


class Stuck(Exception):
    """All tasks wait for each other; or for a thread or a socket, which this loop doesn't wait for."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` moves only when nothing is ready, and then to the next timer.

    With a `seed` the callbacks that are ready together run in a random order, the same for the same seed.
    asyncio runs them first in, first out; code that needs that of its tasks breaks in a busier program.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._selector_ = self.make_selector(seed)
        super().__init__(self._selector_)

    def make_selector(self, seed: int | None) -> "Jump":
        """What moves the time."""
        return Jump(self, seed)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._selector_.now

    def spend(self, seconds: float) -> None:
        """Let the step that is being done take so long."""
        self._selector_.now = round(self._selector_.now + seconds, 9)


class Jump(selectors.SelectSelector):
    """The one place where a loop waits."""

    def __init__(self, loop: VirtualLoop, seed: int | None) -> None:
        super().__init__()
        self.now = 0.0
        self._busy = 0
        """Iterations since time last moved."""
        self._loop = loop
        self._random = None if seed is None else random.Random(seed)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            waiting = ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(self._loop)))
            raise Stuck(f"no task can go on and no timer is set; waiting: {waiting}")
        if timeout > 0:
            # Rounded to the clock's resolution, so that ten sleeps of 0.1 end at 1.0; and never no time at all, or who
            # sleeps for what is left until a moment would be left with a rest of nothing for ever.
            self.now = round(self.now + max(timeout, 1e-9), 9)
            self._busy = 0
        else:
            # Two such sleepers keep each other awake: a program that is busy for that long has taken time.
            self._busy += 1
            if self._busy > BUSY:
                self.now = round(self.now + 1e-9, 9)
        if self._random is not None:
            # The loop's own queue has no public name. This is called once an iteration, before due timers join.
            ready: Any = vars(self._loop)["_ready"]
            self._random.shuffle(ready)
        return super().select(0)


def run(main: Coroutine[Any, Any, T], seed: int | None = None) -> T:
    """`asyncio.run` on a virtual loop."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main)
