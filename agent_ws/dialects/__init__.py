"""Printers from frames to one client family's bytes. Stateless: the writer guarantees the brackets, ids come from the
events.
"""

from .base import Dialect, Place
from .ndjson import NDJSON
from .sse import SSE

__all__ = ["NDJSON", "SSE", "Dialect", "Place", "negotiate"]

DIALECTS: tuple[Dialect, ...] = (SSE, NDJSON)


def negotiate(accept: str) -> Dialect:
    """The dialect for an `Accept` header: the first listed media type that one of them is, else SSE."""
    for wanted in accept.split(","):
        media_type = wanted.partition(";")[0].strip().lower()
        for dialect in DIALECTS:
            if media_type == dialect.media_type:
                return dialect
    return SSE
