"""Where our own time goes: the server under cProfile, with agents that never wait and with paced streams.

The one rule: it is for finding, not for measuring. The profiler makes calls of Python dearer than they are.
"""

import json
import pstats
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from msgspec import to_builtins

from .load import Task
from .machine import ROOT, python, running
from .servers import SERVERS

LOADS = {
    "paced, 200 streams of 50/s": Task("pace", "agent_ws", 0, 0, count=200, rate=50, seconds=4),
    "never waiting, 1 a tick": Task("burst", "agent_ws", 0, 0, count=100, ready=1, seconds=4),
    "never waiting, 16 a tick": Task("burst", "agent_ws", 0, 0, count=100, ready=16, seconds=4),
}
TOP = 28


def profile(say: Callable[[str], None]) -> None:
    """Print, for each load, the functions that take the most time of their own."""
    for title, task in LOADS.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "profile"
            with running([*SERVERS["ours"].command, str(out)], gently=True) as process:
                task.port, task.pid = process.port, process.pid
                command = python("load", json.dumps(to_builtins(task)))
                subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
            _print(title, pstats.Stats(str(out)), say)


def _print(title: str, stats: pstats.Stats, say: Callable[[str], None]) -> None:
    # Not get_stats_profile: it knows functions by their bare names, and takes two of one name for one.
    table = cast("dict[tuple[str, int, str], tuple[int, int, float, float, object]]", cast("Any", stats).stats)
    total = sum(own for _, _, own, _, _ in table.values())
    say(f"\n{title}: {total:.1f} s under the profiler, waiting included")
    say(f"{'own s':>8}{'share':>7}{'with callees':>14}{'calls':>12}  function")
    ordered = sorted(table.items(), key=lambda item: -item[1][2])
    for (file, line, name), (_, calls, own, cumulative, _) in ordered[:TOP]:
        place = f"{Path(file).parent.name}/{Path(file).name}:{line} {name}" if line else name
        say(f"{own:>8.2f}{own / total:>7.1%}{cumulative:>14.2f}{calls:>12,}  {place}")
