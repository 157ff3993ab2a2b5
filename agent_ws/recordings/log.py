"""The log of a session as a recording: one client that was there all the time, and did what was done.

The one rule: what the log doesn't say is not made up, but for the times of text, which has none: it is spread evenly
between the events around it that have.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ..events import (
    ENDINGS,
    Event,
    Interrupted,
    Resolved,
    SectionEnd,
    Seen,
    ToolResult,
    User,
)
from ..frames import JSON, Accepted, LimitsNotice, ServerFrame, SessionFrame
from ..recording import Closed, FromClient, FromServer, Line, Opened
from ..settings import Limits
from ..stores import Saved

OURS = ("orphaned", "shutdown", "deleted")
"""Reasons of an interruption that no client gave."""
PATH = "/ws"


def begun(saved: Saved) -> float:
    """When the recording begins, in seconds since 1970."""
    return next((at for event in saved.events if (at := _at(event))), saved.record.created)


def lines(saved: Saved) -> list[Line]:
    """The log as lines."""
    events = saved.events
    times = _times(events, begun(saved))
    limits = Limits()
    epoch = saved.epochs[-1].epoch if saved.epochs else "log"
    session = SessionFrame(
        session=saved.record.session,
        token="secret-1",  # noqa: S106 - a name, see `secrets`
        epoch=epoch,
        after=0,
        resumed=False,
        limits=LimitsNotice(limits.message_bytes, limits.queued),
    )
    made: list[Line] = [Opened(0.0, 1, PATH), _client(0.0, {"type": "hello"}), _server(0.0, session)]
    causes = _causes(events)
    going: set[str] = set()
    for i, (event, t) in enumerate(zip(events, times, strict=True)):
        made += [_client(t, cause) for cause in causes.get(i, ())]
        made.append(_server(t, event))
        match event:
            case User(id=id, run=run, steer=steer):
                outcome = "steered" if steer else "queued" if going else "started"
                made.append(_server(t, Accepted(id, run, outcome)))
                going.add(run)
            case _ if isinstance(event, ENDINGS):
                going.discard(event.run)
            case _:
                pass
    made.append(Closed(times[-1] if times else 0.0, 1, "client", 1000))
    return made


def _causes(events: Sequence[Event]) -> dict[int, list[dict[str, Any]]]:
    """What the client did before the event at each place."""
    causes: dict[int, list[dict[str, Any]]] = {}
    said: set[str] = set()
    for i, event in enumerate(events):
        match event:
            case User() if event.id not in said:  # again: it moved, which nobody asked for
                said.add(event.id)
                causes.setdefault(i, []).append(_message(event, {"when_busy": "steer"} if event.steer else {}))
            case Interrupted(reason="superseded"):
                message = next((e for e in events[i:] if isinstance(e, User) and e.id not in said), None)
                if message is not None:
                    said.add(message.id)
                    causes.setdefault(_opening(events, i), []).append(_message(message, {"when_busy": "interrupt"}))
            case Interrupted(run=run, reason=reason, seen=seen) if reason not in OURS:
                more = {"reason": reason} if reason != "user" else {}
                more |= {"seen": seen} if seen is not None else {}
                causes.setdefault(_opening(events, i), []).append({"type": "interrupt", "run": run, **more})
            case Seen(run=run, chars=chars):
                causes.setdefault(i, []).append({"type": "interrupt", "run": run, "seen": chars})
            case SectionEnd(run=run, section=section, outcome="skipped"):
                causes.setdefault(i, []).append({"type": "interrupt", "run": run, "section": section})
            case Resolved(request=request, outcome="replied", data=data):
                causes.setdefault(i, []).append({"type": "reply", "request": request, "data": data})
            case _:
                pass
    return causes


def _message(user: User, more: dict[str, Any]) -> dict[str, Any]:
    continues = {"continues": user.continues} if user.continues is not None else {}
    return {"type": "message", "data": user.data, "id": user.id, **continues, **more}


def _opening(events: Sequence[Event], ending: int) -> int:
    """The first of the events that an ending was written with: it closes what is open."""
    i = ending
    while i and events[i - 1].run == events[ending].run and _closes(events[i - 1]):
        i -= 1
    return i


def _closes(event: Event) -> bool:
    return isinstance(event, ToolResult | SectionEnd | Resolved) and event.outcome in ("interrupted", "cancelled")


def _at(event: Event) -> float:
    return getattr(event, "at", 0.0) or 0.0


def _times(events: Sequence[Event], zero: float) -> list[float]:
    """When each came, in seconds since `zero`; never earlier than the one before."""
    times = [0.0] * len(events)
    known = [(-1, 0.0)]
    for i, event in enumerate(events):
        if at := _at(event):
            known.append((i, max(known[-1][1], round(at - zero, 4))))
    for (i, t), (j, later) in zip(known, [*known[1:], (len(events), known[-1][1])], strict=True):
        for k in range(i + 1, min(j + 1, len(events))):
            times[k] = round(t + (later - t) * (k - i) / (j - i), 4)
    return times


def _client(t: float, frame: dict[str, Any]) -> FromClient:
    return FromClient(t, 1, Raw(msgspec.json.encode(frame)))


def _server(t: float, frame: ServerFrame) -> FromServer:
    return FromServer(t, 1, Raw(JSON.encode(frame)))
