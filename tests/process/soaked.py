"""The server inside a program of one's own, which lets sessions go early; its agent tells what the process holds."""

import asyncio
import gc
import json
import os
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

from acting import busy

from agent_ws import Limits, Settings, Timeouts, Turn
from agent_ws.server.serve import serve
from agent_ws.session import Session

LOADED = 20
"""Sessions in memory."""


def kilobytes() -> int:
    """Of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


SPILL = "a transaction that outgrew SQLite's memory"
"""SQLite makes a file for the first one and keeps it for the next."""


def files() -> Counter[str]:
    """Open descriptors by what they are: `socket`, or a path."""
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - iterdir is another descriptor for as long
        with suppress(OSError):  # the one that lists them
            what = os.readlink(f"/proc/self/fd/{name}").partition(":")[0]  # noqa: PTH115 - the same
            found[SPILL if "/etilqs_" in what else what] += 1
    return found


def measured() -> dict[str, object]:
    """What the process holds now, its garbage aside."""
    gc.collect()
    made = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    ours = {
        name: count
        for name, count in made.items()
        if name.startswith(("agent_ws.", "asyncio.", "_asyncio.", "uvicorn."))
    }
    return {
        "tasks": len(asyncio.all_tasks()),
        "descriptors": files().total() - min(1, files()[SPILL]),
        "threads": threading.active_count(),
        "kilobytes": kilobytes(),
        "sessions": made[f"{Session.__module__}.{Session.__qualname__}"],
        "objects": sum(made.values()),
        "ours": ours,
        "files": files(),
    }


async def agent(turn: Turn) -> None:
    if turn.message == "measure":
        turn.content(json.dumps(measured()))
    elif turn.message == "size":  # costs nothing, so that it may be asked in the middle
        turn.content(str(kilobytes()))
    elif turn.message == "thread":
        turn.content(str(await asyncio.to_thread(threading.get_native_id)))
    else:
        await busy(turn)


if __name__ == "__main__":
    settings = Settings(
        store=sys.argv[1], limits=Limits(loaded_sessions=LOADED), timeouts=Timeouts(stall=1.0, orphan=1.0)
    )
    sys.exit(serve(agent, settings, host="127.0.0.1", port=0))
