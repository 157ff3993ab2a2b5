"""Where our own time goes: the server under cProfile, with agents that never wait and with paced streams.

The one rule: it is for finding, not for measuring. The profiler makes calls of Python dearer than they are.
"""

import json
import pstats
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

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
    rows = stats.get_stats_profile().func_profiles
    total = stats.get_stats_profile().total_tt
    say(
        f"\n{title}: {total:.1f} s under the profiler\n"
        f"{'own s':>8}{'share':>7}{'with callees':>14}{'calls':>12}  function"
    )
    for name, row in sorted(rows.items(), key=lambda item: -item[1].tottime)[:TOP]:
        place = f"{Path(row.file_name).parent.name}/{Path(row.file_name).name}:{row.line_number} {name}"
        say(f"{row.tottime:>8.2f}{row.tottime / total:>7.1%}{row.cumtime:>14.2f}{row.ncalls:>12}  {place}")
