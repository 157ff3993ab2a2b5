"""A load from its beginning to its end: processes of users, what they tell, and what the server takes meanwhile.

The one rule: it ends with what was counted, whoever ends it: its time, Ctrl-C, a server or a process that dies.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import psutil
from msgspec import Struct

from .link import clock
from .plan import Plan
from .tally import Tally
from .target import Target
from .worker import LINE, TICK_S, Task, Told

LEAD_S = 0.5
"""For the processes to start, before the load begins."""
KEPT = 10
"""Seconds for which a process may tell late what came in them; later it counts for the next one."""
MIB = 1 << 20


class Tick(Struct):
    """One second of a load."""

    at: int
    """Seconds since it began, the time before it is measured included."""
    tokens: int = 0
    first_p99: float | None = None
    late_p50: float | None = None
    late_p99: float | None = None
    stop_p99: float | None = None
    faults: int = 0
    cpu: float | None = None
    """Of a core, by the server."""
    rss: float | None = None
    """MiB of the server."""


class Outcome(Struct):
    """What a load came to."""

    plan: Plan
    seconds: float
    """How long it was measured."""
    tally: Tally
    ticks: list[Tick]
    busy: list[float]
    """What each process of users took of a core."""
    cpu: float | None = None
    """What the server took of a core, on average; None where it is not on this machine."""
    rss: float | None = None
    """MiB of the server at most."""

    @property
    def tokens(self) -> float:
        """Tokens a second."""
        return self.tally.counts.get("tokens", 0) / self.seconds if self.seconds else 0.0


class Server:
    """A process of this machine that is measured, with its children."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._cpu = self._time()
        self._at = clock()

    def _all(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def _time(self) -> float:
        return sum(p.cpu_times().user + p.cpu_times().system for p in self._all())

    def look(self) -> tuple[float, float] | None:
        """What it took of a core since the last look, and MiB that it holds. None: it is gone."""
        try:
            cpu, at = self._time(), clock()
            used, passed = cpu - self._cpu, at - self._at
            self._cpu, self._at = cpu, at
            return used / passed if passed else 0.0, sum(p.memory_info().rss for p in self._all()) / MIB
        except psutil.Error:
            return None


def listener(port: int) -> int | None:
    """The process that listens on this port of this machine, where the system tells."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            address: Any = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address.port == port and connection.pid:
                return connection.pid
    return None


class Load:
    """One load. `told` is called with the total and the seconds that have passed, a few times a second."""

    def __init__(
        self, target: Target, plan: Plan, *, workers: int = 1, pid: int | None = None,
        told: Callable[[Tally, float], None] = lambda _tally, _seconds: None,
    ) -> None:  # fmt: skip
        self._target = target
        self._plan = plan
        self._told = told
        self._server = Server(pid) if pid is not None else None
        self._tally = Tally()
        self._seconds: dict[int, Tally] = {}
        """The last ones: a long load has too many to keep each one's histograms."""
        self._ticks: list[Tick] = []
        self._folded = 0
        """The first second that is no point yet."""
        self._looks: dict[int, tuple[float, float]] = {}
        self._cpu = [0.0] * workers
        self._processes: list[asyncio.subprocess.Process] = []
        self._stopped = False
        self._began = 0.0
        self._ended = 0.0

    def stop(self) -> None:
        """End what is measured. A second time: wait for nothing that is still to come."""
        if not self._stopped:
            self._ended = min(self._ended, clock())
        self._stopped = True
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.write(b"stop\n")

    async def run(self) -> Outcome:
        """From the beginning to the end."""
        plan = self._plan
        self._began = clock() + LEAD_S
        begin = self._began + plan.warm
        self._ended = begin + plan.seconds
        try:
            await asyncio.gather(self._watch(), *(self._work(i) for i in range(len(self._cpu))))
        finally:
            for process in self._processes:
                if process.returncode is None:  # else it would be reaped here, unseen by who waits for it
                    process.kill()
                    await process.wait()
        self._fold(max(self._seconds, default=0) + 1)
        seconds = max(0.0, self._ended - begin)
        first, last = int(plan.warm), plan.warm + seconds + TICK_S - 1
        measured = [look for at, look in self._looks.items() if first <= at <= last]
        return Outcome(
            plan,
            seconds,
            self._tally,
            [tick for tick in self._ticks if first <= tick.at <= last],
            [cpu / seconds if seconds else 0.0 for cpu in self._cpu],
            sum(cpu for cpu, _ in measured) / len(measured) if measured else None,
            max((rss for _, rss in measured), default=None),
        )

    async def _work(self, number: int) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_ws.load.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE,
            start_new_session=True,  # Ctrl-C is for this process, which ends it in order
        )
        self._processes.append(process)
        if process.stdin is None or process.stdout is None:
            return  # for the type check: both are pipes
        task = Task(self._target, self._plan, self._began, number, len(self._cpu))
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        last = False
        while line := await process.stdout.readline():
            told = msgspec.json.decode(line, type=Told)
            last = told.last
            self._take(number, told)
        status = await process.wait()
        if not last:
            self._tally.fault(f"a process of the load ended early, with status {status}")

    def _take(self, number: int, told: Told) -> None:
        self._tally.join(told.tally)
        # What it tells is of the time before: half of a tick back is in the middle of that.
        at = max(self._folded, int(told.at - TICK_S / 2))
        self._seconds.setdefault(at, Tally()).join(told.tally)
        self._fold(at - KEPT)
        if self._plan.warm < told.at <= self._ended - self._began + TICK_S:
            self._cpu[number] += told.cpu
        self._told(self._tally, max(0.0, clock() - self._began))

    def _fold(self, before: int) -> None:
        """Make points of the seconds before that one."""
        for at in sorted(at for at in self._seconds if at < before):
            self._ticks.append(self._tick(at, self._seconds.pop(at)))
            self._folded = at + 1

    async def _watch(self) -> None:
        """Look at the server, each second, while it is measured."""
        while clock() < self._ended and not self._stopped:
            # At whole seconds of the load, which those who send it count too.
            await asyncio.sleep(min(1.0 - (clock() - self._began) % 1.0, max(0.0, self._ended - clock())))
            if self._server is not None and (look := self._server.look()) is not None:
                self._looks[max(0, int(clock() - self._began - TICK_S))] = look

    def _tick(self, at: int, tally: Tally) -> Tick:
        def point(figure: Any, share: float) -> float | None:
            histogram = tally.times.get(figure)
            return histogram.at(share) if histogram is not None and histogram.n else None

        cpu, rss = self._looks.get(at, (None, None))
        return Tick(
            at,
            tally.counts.get("tokens", 0),
            point("first", 0.99),
            point("late", 0.5),
            point("late", 0.99),
            point("stop", 0.99),
            sum(tally.faults.values()),
            cpu,
            rss,
        )


def processes(wanted: int | None) -> int:
    """How many processes of users there are, where nobody says so: half of the cores, the others are the server's."""
    return wanted or max(1, (os.cpu_count() or 1) // 2)
