"""What the server writes about itself: one line an event, of words of ours and of the fields that are listed here.

The one rule: what a client, an agent or a provider wrote gets into no line. The words are literals, which the type
check holds; a field is an id of ours, a number, an address or a name from our code; an exception of somebody else's is
its type and its place. Texts come only from errors of ours, whose texts hold no secret.
"""

import logging
from collections.abc import Callable
from typing import Literal, LiteralString, TypedDict, Unpack

from .errors import AgentError, AgentWsError, place
from .rates import Bucket, Rate

NAME = "agent_ws"
OURS = (NAME, "uvicorn", "websockets", "asyncio")
"""Loggers whose lines a client can cause."""
FRAMES = 10
"""Innermost places of a stack that are told."""

_logger = logging.getLogger(NAME)


class Fields(TypedDict, total=False):
    """All that a line may hold beside its words."""

    error: BaseException
    session: str
    run: str
    task: str
    kind: Literal["http", "websocket"]
    address: str
    code: int
    count: int
    limit: int
    seconds: float
    ms: float


def note(level: int, what: LiteralString, **fields: Unpack[Fields]) -> None:
    """Write a line. Fields that are not listed are refused, also where no type check has looked."""
    if not _logger.isEnabledFor(level):
        return
    if strange := fields.keys() - Fields.__annotations__.keys():
        raise TypeError(f"expected fields that a line of the journal has, got {', '.join(sorted(strange))}")
    error = fields.get("error")
    words = what if error is None else f"{what}: {_told(error)}"
    shown = {name: value for name, value in fields.items() if name != "error"}
    more = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items())
    _write(level, what, f"{words} ({more})" if more else words, shown)


def bug(what: LiteralString, fault: BaseException, **fields: Unpack[Fields]) -> None:
    """Write that something happened which never should: with its stack, without its text."""
    fields["error"] = fault
    note(logging.ERROR, what, **fields)
    _write(logging.ERROR, "its stack", f"its stack: {stack(fault)}", {})


def _write(level: int, what: str, line: str, fields: dict[str, object]) -> None:
    # `what` tells kinds of lines apart, for the flood below; `fields` is for who formats them as JSON.
    _logger.log(level, "%s", line, extra={"what": what, "fields": fields})


def stack(error: BaseException) -> str:
    """The places that an exception came through, innermost first. No line of any source, and no text."""
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-FRAMES:])) or "none"


def _told(error: BaseException) -> str:
    if isinstance(error, AgentError):
        return error.code  # an agent wrote it for its user
    if isinstance(error, AgentWsError):
        return str(error)
    return f"{type(error).__name__} at {place(error)}"


class Flood(logging.Filter):
    """Lets so many lines of a kind pass, and says later how many it left out: a log that anybody can fill is a way to
    fill a disk, and to hide in.

    For a handler. `clock`: seconds that never go back.
    """

    RATE = Rate(per_second=0.2, burst=20)
    KINDS = 1_000
    """Kinds that are told apart; all others count as one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line may pass. It is told how many before it didn't."""
        if record.name.partition(".")[0] not in OURS:
            return True  # an agent's own
        now = self._clock()
        kind = f"{record.name} {getattr(record, 'what', record.msg)}"
        bucket = self._buckets.get(kind)
        if bucket is None:
            kind = kind if len(self._buckets) < self.KINDS else "others"
            bucket = self._buckets.setdefault(kind, Bucket(self.RATE, now))
        if not bucket.take(now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        if left := self._left_out.pop(kind, 0):
            record.msg, record.args = f"{record.getMessage()} [and {left} more like it before]", ()
        return True
