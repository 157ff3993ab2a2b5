"""The scripts of the runs that a recording has: what their agents did, and when.

The one rule: what the gateway wrote is left out, for it writes it again: beginnings, endings, receipts, and the ends of
what was open when a run ended.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from ..errors import CODES, RunError
from ..events import (
    EMITTED,
    ENDINGS,
    Content,
    Done,
    Error,
    Event,
    Interrupted,
    Request,
    Resolved,
    SectionEnd,
    Start,
    Status,
    Thinking,
    ToolResult,
    ToolRun,
    ToolStart,
)
from ..recording import Closed, FromServer, Recording
from .steps import Ask, Gate, Hear, Raise, Report, Step, Wait

TOLD = tuple[float, Event]
"""An event, and when it came."""


def scripts(recording: Recording, speed: float) -> list[list[Step]]:
    """A script for each run that began, in the order of their beginnings. Raises `ValueError` for a recording without
    one, and where it has an event that this version doesn't know.
    """
    if not speed > 0:
        raise ValueError(f"expected a speed above 0 (math.inf: no pauses), got {speed}")
    runs: dict[tuple[str, str], list[TOLD]] = {}
    for session, told in _logs(recording).items():
        for t, event in told:
            runs.setdefault((session, event.run), []).append((t, event))
    begun = [told for told in runs.values() if any(isinstance(event, Start) for _, event in told)]
    begun.sort(key=lambda told: next(t for t, event in told if isinstance(event, Start)))
    if not begun:
        raise ValueError(f"{recording.path}: expected a recording in which an agent begins to answer, got none")
    return [_script(told, speed) for told in begun]


def _logs(recording: Recording) -> dict[str, list[TOLD]]:
    """What clients got of each session, once. Where several were there, the first one's, for as long as it was."""
    logs: dict[str, list[TOLD]] = {}
    sessions: dict[int, str] = {}
    reading: dict[str, int] = {}
    reached: dict[str, tuple[int, int]] = {}
    for place, line in enumerate(recording.lines):
        session = sessions.get(line.c, "")
        if isinstance(line, Closed) and reading.get(session) == line.c:
            del reading[session]
        if not isinstance(line, FromServer):
            continue
        match line.value:
            case {"type": "session", "session": str(name)}:
                sessions[line.c] = name
            case {"type": "reset"} if reading.setdefault(session, line.c) == line.c:
                logs[session], reached[session] = [], (0, 0)  # the whole log follows
            case {"seq": int(seq), "run": _} as frame if reading.setdefault(session, line.c) == line.c:
                at = seq, frame.get("part", 0)
                if at > reached.get(session, (0, 0)):
                    reached[session] = at
                    try:
                        event = msgspec.convert(frame, Event)
                    except msgspec.ValidationError as error:
                        raise ValueError(f"{recording.place(place)}: expected an event, got {error}") from None
                    logs.setdefault(session, []).append((line.t, event))
            case _:
                pass
    return logs


def _script(told: Sequence[TOLD], speed: float) -> list[Step]:
    steps: list[Step] = []
    last = next(t for t, event in told if isinstance(event, Start))
    for t, event in _of_the_agent(told):
        step = _step(event)
        if step is None:
            if isinstance(event, Resolved):
                last = t  # it was the user who took so long
            continue
        if t > last and speed < math.inf:
            steps.append(Wait(round((t - last) / speed, 4)))
        last = max(last, t)
        if isinstance(step, Hear) and steps and isinstance(before := steps[-1], Hear):
            steps[-1] = Hear(before.messages + 1)  # they were taken at once
        else:
            steps.append(step)
    return steps


def _of_the_agent(told: Sequence[TOLD]) -> Iterable[TOLD]:
    """Without what the gateway wrote to end the run."""
    end = next((i for i, (_, event) in enumerate(told) if isinstance(event, ENDINGS)), len(told))
    if end < len(told) and not isinstance(told[end][1], Done):
        while end and _closes(told[end - 1][1]):
            end -= 1
        ending = next(pair for pair in told if isinstance(pair[1], ENDINGS))
        return [*told[:end], ending]
    return told[: end + 1]


def _closes(event: Event) -> bool:
    return isinstance(event, ToolResult | SectionEnd | Resolved) and event.outcome in ("interrupted", "cancelled")


def _step(event: Event) -> Step | None:
    match event:
        case Content() | Thinking():
            return replace(event, seq=0, run="", part=0)
        case ToolStart() | ToolRun() | ToolResult():
            return replace(event, seq=0, run="", at=0.0)
        case Status(state="steered"):
            return Hear()
        case Request(kind=kind, prompt=prompt, data=data, tool=tool):
            return Ask(kind, prompt, data, tool)
        case Done(usage=usage, stop_reason=reason):
            return Report(usage, reason) if usage is not None or reason else None
        case Interrupted():
            return Gate()
        case Error(code=code, message=message):
            return Raise(RunError(message, code=code if code in CODES else "agent_error"))
        case _:
            return replace(event, seq=0, run="") if isinstance(event, EMITTED) else None
