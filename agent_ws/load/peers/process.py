"""What the processes of all peers do.

The one rule: they end with who started them, however that one ended.
"""

import os
import sys
import threading
from contextlib import suppress

if sys.platform != "win32":
    import resource


def open_files() -> None:
    """Let this process have as many connections as the system allows it."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(OSError, ValueError):  # a system that allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def begin(port: int) -> None:
    """Say where it serves, and end this process when its input ends."""
    print(f"serves on http://127.0.0.1:{port}", flush=True)  # noqa: T201 - who started it reads that
    leave_with_parent()


def leave_with_parent() -> None:
    """End this process when its input ends."""
    open_files()

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, name="input", daemon=True).start()
