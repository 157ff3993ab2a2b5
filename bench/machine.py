"""The machine: its cores, what a process used of it, and servers as processes.

The one rule: the server has one core and the generator another. Where there is only one core, the report says so.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from msgspec import Struct

ROOT = Path(__file__).parents[1]
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[-1]
LOAD_CORE = CORES[0]
PRIORITY = -10
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def pin(core: int) -> None:
    """Keep this process, and those that it starts, on one core, before others where that is allowed."""
    os.sched_setaffinity(0, {core})
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, in the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def busy(core: int) -> tuple[int, int]:
    """Ticks that a core has worked, and that have passed: for all processes, ours or not."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            numbers = [int(tick) for tick in ticks[:8]]
            return sum(numbers) - numbers[3] - numbers[4], sum(numbers)
    return 0, 0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServerEnded(Exception):
    """A server that did not start, or did not live on."""


class Running(Struct):
    """A server that takes connections."""

    pid: int
    port: int
    ready_s: float
    """From the command to the first connection that it took."""


@contextmanager
def running(
    command: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None, gently: bool = False
) -> Generator[Running]:
    """Run a server inside. `{port}` in the command is where it is to listen. `gently`: let it end by itself."""
    port = free_port()
    began = time.perf_counter()
    with (
        TemporaryFile() as errors,
        subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            cwd=cwd,
            env=os.environ | (env or {}),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=lambda: pin(SERVER_CORE),  # noqa: PLW1509 - this process has no threads
        ) as process,
    ):
        try:
            yield Running(process.pid, port, _wait(process, port) - began)
        except ServerEnded as ended:
            errors.seek(0)
            raise ServerEnded(f"{ended}: {errors.read().decode()[-400:]}") from None
        finally:
            process.terminate() if gently else process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> float:
    """Return the time when the server first took a connection."""
    give_up = time.perf_counter() + 20
    while time.perf_counter() < give_up:
        if process.poll() is not None:
            raise ServerEnded("expected a server, but it ended")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return time.perf_counter()
        time.sleep(0.002)
    raise ServerEnded("expected a server that takes connections within 20 s, got none")


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the benchmark."""
    return [sys.executable, "-m", f"bench.{module}", *arguments]
