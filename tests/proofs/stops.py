"""What must be true of Stops, of receipts and of what a model is told of runs that were stopped.

The one rule: what is expected comes from the ledger, the clock and what was sent; never from the server's own word.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from agent_ws.events import (
    ENDINGS,
    Content,
    Error,
    Event,
    Interrupted,
    SectionStart,
    Seen,
    Settled,
    Start,
    Status,
    User,
)
from agent_ws.history import Text, history
from agent_ws.settings import Timeouts

from .ledger import LATE, Life
from .proof import Disproved

TIMES = Timeouts()


class Stop(Struct):
    """One interrupt, as it was sent."""

    wire: str
    reason: str
    """Its own, unless it is `user`, which is what the server writes for none."""
    run: str | None
    seen: int | None
    open: set[str]
    """Runs without an ending when it was sent."""
    ended: set[str]
    """Runs with one."""
    before: set[str]
    """Messages that went out on the same connection before it."""
    told: set[str] = set()
    """What the answer by HTTP said it had stopped."""
    over: float | None = None
    """By when it was served: at once, but for what needs no time."""

    @property
    def named(self) -> bool:
        """Whether its reason tells it from all other Stops."""
        return self.reason != "user"

    def means(self, run: str) -> bool:
        return self.run in (None, run)

    def stopped(self, events: Sequence[Event]) -> set[str]:
        """The runs that have its reason."""
        return {e.run for e in events if isinstance(e, Interrupted) and e.reason == self.reason}


def check_stop(stop: Stop, events: Sequence[Event], tabs: Sequence[Collection[str]], after: Collection[str]) -> None:
    """In the moment in which it was sent: the endings are there, on every tab, and nothing else was stopped.

    tabs: the runs of whose ending each was told. after: messages that went out behind it on the same connection.
    """
    ended = {event.run for event in events if isinstance(event, ENDINGS)}
    home = {event.id: event.run for event in events if isinstance(event, User)}
    if stop.run is None:
        due = stop.open | {home[message] for message in stop.before if message in home}
    else:
        due = {stop.run} & (stop.open | stop.ended)
    if due - ended:
        raise Disproved(f"expected endings of {due} at once after {stop}, got {ended}")
    for told in tabs:
        if due - {*told}:
            raise Disproved(f"expected each tab to be told at once of the endings of {due}, got {told}")
    if not stop.named:
        return
    stopped = stop.stopped(events)
    if stop.wire == "http" and stopped != stop.told:
        raise Disproved(f"expected to be told that {stopped} were stopped by {stop}")
    if wrong := stopped & ({home[message] for message in after if message in home} | stop.ended):
        raise Disproved(f"expected {wrong} not to be stopped by {stop}")
    if stop.seen is not None and stop.run in due and seen(events, stop.run) > stop.seen:
        raise Disproved(f"expected at most {stop.seen} characters of {stop.run} to count as seen")


def check_reasons(stops: Sequence[Stop], events: Sequence[Event], when: Sequence[float], *, superseding: bool) -> None:
    """Whatever was interrupted was meant by the Stop whose reason it has, and has what that said was seen."""
    said: dict[str, float] = {}
    for event, at in zip(events, when, strict=True):
        said.setdefault(event.run, at)
    for i, event in enumerate(events):
        if isinstance(event, Seen) and event.chars not in [stop.seen for stop in stops]:
            raise Disproved(f"expected what a Stop said was seen, got {event}")
        if not isinstance(event, Interrupted) or (superseding and event.reason == "superseded"):
            continue
        by = [stop for stop in stops if stop.reason == event.reason and stop.means(event.run)]
        by = [stop for stop in by if stop.over is None or said[event.run] <= stop.over]
        if not by:
            raise Disproved(f"expected {event} to be stopped by one of {stops}")
        if by[0].named:
            started = any(isinstance(e, Start) and e.run == event.run for e in events[:i])
            expected = by[0].seen if by[0].seen is None else min(by[0].seen, len(shown(events[:i], event.run)))
            if event.seen != expected and (started or event.seen is not None):
                raise Disproved(f"expected {expected} characters seen, got {event}")


def check_receipt(receipt: Settled, events: Sequence[Event], when: Sequence[float], life: Life | None) -> None:
    """It says what the agent did, and when its task was gone. `life`: until then; None: its agent never began."""
    own = [(event, at) for event, at in zip(events, when, strict=True) if event.run == receipt.run]
    ending, ended = next((event, at) for event, at in own if isinstance(event, ENDINGS))
    settled = next(at for event, at in own if isinstance(event, Settled))
    if life is not None and life.gone is None:
        task, late = "abandoned", TIMES.abandon
        if life.refused < TIMES.abandon / TIMES.grace - 1:  # a write each time that it is told to go
            raise Disproved(f"expected {receipt.run} to be cancelled every {TIMES.grace} s, got {life.refused} times")
    elif not any(isinstance(event, Start) for event, _ in own):
        task, late = "never_started", 0.0
    else:
        # Who stops a run cancels its task, and so does a time limit.
        cut = isinstance(ending, Interrupted) or (isinstance(ending, Error) and ending.code.endswith("_timeout"))
        task, late = "cancelled" if cut else "finished", max(0.0, ((life and life.gone) or ended) - ended)
    if receipt.task != task:
        raise Disproved(f"expected the task to be {task}, got {receipt}; its agent: {life}")
    if abs(settled - ended - late) > 0.001 or abs(receipt.stop_ms / 1000 - late) > 0.001:
        raise Disproved(f"expected the task to be gone {late} s after the ending, got {settled - ended} s in {receipt}")
    life = life or Life()
    written = "".join(event.data for event, _ in own if isinstance(event, Content))
    if written != life.text or LATE in written:
        raise Disproved(f"expected in the log what was taken from the agent, {life.text!r}, got {written!r}")
    gone = task != "abandoned"
    tools = {tool: "cancelled" if fate == "running" and gone else fate for tool, fate in life.tools.items()}
    if receipt.tools != tools:
        raise Disproved(f"expected the tools {tools}, got {receipt}")
    if receipt.upstream_closed is not life.upstream:
        raise Disproved(f"expected upstream_closed to be {life.upstream}, got {receipt}")


def check_told(events: Sequence[Event]) -> None:
    """A model is told of each answer what the user saw, no more and no less. (Sections have titles besides.)"""
    if any(isinstance(event, SectionStart) for event in events):
        return
    begun = [event.run for event in events if isinstance(event, Start)]
    expected = "".join(shown(events, run)[: seen(events, run)] for run in begun)
    parts = [part for message in history(events) if message.role == "assistant" for part in message.parts]
    told = "".join(part.text for part in parts if isinstance(part, Text))
    if "".join(told.split()) != "".join(expected.split()):  # blank text is left out, and paragraphs are kept apart
        raise Disproved(f"expected the model to be told {expected!r}, got {told!r}")


def shown(events: Sequence[Event], run: str) -> str:
    """The text of a run as a user sees it: without what was taken back."""
    text = ""
    for event in events:
        if event.run == run:
            if isinstance(event, Content):
                text += event.data
            elif isinstance(event, Status) and event.state == "reset":
                text = text[: len(text) - event.chars]
    return text


def seen(events: Sequence[Event], run: str) -> int:
    """How many characters of it count as seen."""
    chars = len(shown(events, run))
    for event in events:
        if event.run == run and isinstance(event, Interrupted) and event.seen is not None:
            chars = event.seen
        elif event.run == run and isinstance(event, Seen):
            chars = min(chars, event.chars)
    return chars
