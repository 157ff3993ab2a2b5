"""A process of users: `python -m agent_ws.load.worker`. Its task comes as the first line of its input, and what it has
counted goes out as lines of JSON.

The one rule: it lives as long as its input is open. A line `stop` ends what is measured at once; the end of the input
ends the process, so that none is left behind by a parent that died.
"""

import asyncio
import gc
import sys
import time

import msgspec
from msgspec import Struct

from ..tasks import Tasks
from .answer import Board
from .link import clock, new_event_loop
from .live import Live
from .peers.process import open_files
from .plan import Plan
from .tally import Tally
from .target import Target
from .user import User

TICK_S = 0.5
"""Between two lines of its output."""
GC_THRESHOLDS = (100_000, 50, 50)
"""It makes little garbage, and a pause of its own would be put down to the server."""
LINE = 1 << 24
"""Bytes of the longest line: a tally is small, its task too."""


class Task(Struct, frozen=True):
    """The users from `first` on, each `step`-th of them."""

    target: Target
    plan: Plan
    began: float
    """By the clock of all processes of this machine."""
    first: int = 0
    step: int = 1


class Told(Struct, frozen=True):
    """What came since the line before."""

    at: float
    """Seconds since the load began."""
    cpu: float
    """Seconds of processor time that the process took since the line before."""
    tally: Tally
    last: bool = False


class Worker:
    """One process's users. `tell` takes what was counted, each `TICK_S`."""

    def __init__(self, task: Task, tasks: Tasks) -> None:
        plan = task.plan
        begin = task.began + plan.warm
        self._task = task
        self._board = Board(plan, begin, begin + plan.seconds)
        self._stopped = asyncio.Event()
        self._cpu = time.process_time()
        self._source = Live(task.target, tasks)
        numbers = range(task.first, plan.connections, task.step)
        self._users = [User(n, self._board, task.target.wire, self._source) for n in numbers]

    def stop(self) -> None:
        """End what is measured now. A second time: wait for nothing."""
        if clock() >= self._board.end:
            self._stopped.set()
        self._board.end = min(self._board.end, clock())

    async def run(self) -> None:
        """From the beginning to the last line."""
        plan, began = self._task.plan, self._task.began
        for i, user in enumerate(self._users):
            # Not all at once: a listening socket's queue is short.
            when = began + plan.warm / 2 * (i * self._task.step + self._task.first) / plan.connections
            self._source.at(when, lambda user=user: user.start(began))
        while clock() < self._board.end + plan.patience and not self._stopped.is_set():
            if clock() >= self._board.end and all(user.done for user in self._users):
                break
            if clock() < self._board.end:
                await asyncio.sleep(TICK_S - (clock() - began) % TICK_S)
            else:
                await asyncio.sleep(TICK_S / 10)
            self._tell()
        for user in self._users:
            user.close()
        self._tell(last=True)

    def _tell(self, *, last: bool = False) -> None:
        tally, self._board.tally = self._board.tally, Tally()
        cpu, self._cpu = self._cpu, time.process_time()
        told = Told(clock() - self._task.began, self._cpu - cpu, tally, last)
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()


async def _main() -> None:
    reader = asyncio.StreamReader(LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    task = msgspec.json.decode(await reader.readline(), type=Task)
    tasks = Tasks()
    worker = Worker(task, tasks)

    async def listen() -> None:
        while (await reader.readline()).strip() == b"stop":
            worker.stop()

    running, listening = tasks.spawn(worker.run(), "users"), tasks.spawn(listen(), "input")
    await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
    await tasks.close(1)


def main() -> None:
    """Do one task."""
    open_files()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_main())


if __name__ == "__main__":
    main()
