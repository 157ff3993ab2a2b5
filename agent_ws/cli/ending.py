"""The end of a command that goes on until somebody ends it."""

import asyncio
import signal


def asked() -> asyncio.Event:
    """Set when somebody wants the end, by Ctrl-C or SIGTERM. For the loop that runs."""
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    return stop
