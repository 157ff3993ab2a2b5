"""The process's log on stderr, and what others would write into it about our clients.

The one rule: their lines lose what an exception says and what they quote, and keep what happened and where.
"""

import logging
import sys
import time

from ..journal import Flood, stack

QUIET = ("uvicorn.error", "websockets", "httpx2", "anthropic")
"""Below a warning they log addresses and frames, which may hold messages."""
SCRUBBED = ("uvicorn.error", "asyncio")
"""They log exceptions of anybody's, with their texts."""
OURS_ANYWAY = ("Invalid UTF-8", "ASGI callable returned without completing handshake")
"""What uvicorn says of cases that have a line of ours."""


class Scrubber(logging.Filter):
    """For the loggers that write about exceptions: type and stack instead of the text. A store that can't be opened and
    an address that can't be listened on are no bugs, and their errors say what to do.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text.startswith(OURS_ANYWAY):
            return False
        if isinstance(record.msg, OSError):
            record.msg = f"can't listen: {record.msg}; choose another --port or --host"
            return True
        _, name, message = text.rpartition("agent_ws.errors.StoreError: ")
        if name:
            record.msg, record.args = message.strip(), ()
            return True
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            # asyncio's further lines are the task and the future, with what they hold.
            words = text.partition("\n")[0].strip()
            record.msg, record.args = f"{words}: {type(error).__name__}: {stack(error)}", ()
        elif text.startswith("Traceback "):
            record.msg, record.args = _without_text(text), ()
        record.exc_info = record.exc_text = None
        return True


def _without_text(trace: str) -> str:
    """A printed stack as its places and the type: what lines of source and the exception say is left out."""
    lines = trace.splitlines()
    places = [line.strip() for line in lines if line.startswith('  File "')]
    # The text of an exception may go on over lines of its own, so the type is what follows the last place.
    after = lines[max((i for i, line in enumerate(lines) if line.startswith("  File ")), default=0) + 1 :]
    kind = next((line.partition(":")[0] for line in after if line and not line.startswith(" ")), "an error")
    return f"{kind}: {' < '.join(reversed(places[-3:]))}"


def set_up_logging() -> None:
    """Write the log to stderr, bounded, and keep out of it what others would say about our clients."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Flood(time.monotonic))
    logging.basicConfig(
        handlers=[handler], level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SCRUBBED:
        logger = logging.getLogger(name)
        if not any(isinstance(known, Scrubber) for known in logger.filters):
            logger.addFilter(Scrubber())
