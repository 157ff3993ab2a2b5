"""What is counted under load.

The one rule: a process tells what came since it last told, and all that was told is added up. So a load that is
stopped, or whose process dies, has lost nothing of before.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from msgspec import Struct

from .histogram import Histogram

Figure: TypeAlias = Literal["first", "between", "late", "stop", "closed", "settled", "resume", "connect", "own"]
FIGURES: dict[Figure, str] = {
    "first": "first token",
    "between": "between tokens",
    "late": "token behind schedule",
    "stop": "interrupt to ack",
    "closed": "interrupt to upstream closed",
    "settled": "interrupt to receipt",
    "resume": "resume",
    "connect": "connect",
    "own": "generator behind schedule",
}
"""Every figure, with its name for people."""
MEANINGS: dict[Figure, str] = {
    "first": "From the moment a message was due to the first text of its answer.",
    "between": "The pauses between two pieces of text of an answer that follow each other. Each weighs as much as it "
    "is long, so p99 says that for 99 % of the time of an answer the pause was at most that.",
    "late": "From the moment a token was due, by when its message was and by the rate, until it came. Known only of "
    "the load's own agent.",
    "stop": "From an interrupt to the run's `interrupted`. Nothing of the answer comes after it.",
    "closed": "From an interrupt to the receipt that says that the connection to the provider is closed. Only where "
    "the agent has one.",
    "settled": "From an interrupt to the receipt: the agent's task is gone.",
    "resume": "From the loss of a connection to the `session` frame that honours its cursor.",
    "connect": "From the opening of a connection to the answer to its first frame.",
    "own": "How late the generator itself was to send a message. It is not the server's fault, is not in the other "
    "figures, and should be small.",
}
"""What each is."""


class Tally(Struct):
    """Of one second, one process, or all of them."""

    times: dict[Figure, Histogram] = {}
    counts: dict[str, int] = {}
    """`messages`, `answers`, `stopped`, `dropped`, `tokens`, `frames`, `bytes`; `behind`: messages that were said later
    than due, because the answer before or a connection was not there; `unanswered`: those that had no text when it
    ended (they are in `first`, with the time that they had waited); `lost` and `doubled` tokens; `resets`."""
    faults: dict[str, int] = {}
    """What went wrong, in words, and how often."""

    def time(self, figure: Figure, seconds: float) -> None:
        """Add a time."""
        histogram = self.times.get(figure)
        if histogram is None:
            histogram = self.times[figure] = Histogram()
        if figure == "between":
            histogram.add_pause(seconds)
        else:
            histogram.add(seconds)

    def count(self, what: str, n: int = 1) -> None:
        """Count."""
        self.counts[what] = self.counts.get(what, 0) + n

    def fault(self, what: str) -> None:
        """Count what went wrong."""
        self.faults[what] = self.faults.get(what, 0) + 1

    def join(self, other: "Tally") -> None:
        """Add all that is in `other`."""
        for figure, histogram in other.times.items():
            self.times.setdefault(figure, Histogram()).join(histogram)
        for what, n in other.counts.items():
            self.count(what, n)
        for what, n in other.faults.items():
            self.faults[what] = self.faults.get(what, 0) + n

    def figures(self) -> Iterator[tuple[Figure, Histogram]]:
        """Those that have something, in the order of `FIGURES`."""
        for figure in FIGURES:
            if (histogram := self.times.get(figure)) is not None and histogram.n:
                yield figure, histogram
