"""Printers from frames to one client family's bytes. Stateless: the writer guarantees the brackets, ids come from the
events.
"""

from .base import Dialect, Place
from .ndjson import NDJSON
from .sse import SSE

__all__ = ["NDJSON", "SSE", "Dialect", "Place", "negotiate", "preferred"]

DIALECTS: tuple[Dialect, ...] = (SSE, NDJSON)


def negotiate(accept: str) -> Dialect:
    """The dialect for an `Accept` header: the best that it lists, else SSE."""
    known = {dialect.media_type: dialect for dialect in DIALECTS}
    return next((known[wanted] for wanted in preferred(accept) if wanted in known), SSE)


def preferred(header: str) -> list[str]:
    """The values of an `Accept` or `Accept-Encoding` header, best first, without those that it refuses (`q=0`)."""
    wanted: list[tuple[float, str]] = []
    for entry in header.lower().split(","):
        value, *parameters = (part.strip() for part in entry.split(";"))
        quality = next((_number(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        if quality > 0:
            wanted.append((-quality, value))
    return [value for _, value in sorted(wanted, key=lambda pair: pair[0])]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
