"""What the users of a load do, and when.

The one rule: all of it is known before it begins, from the seed alone. What a server does moves none of it.
"""

from collections.abc import Iterator
from math import ceil
from random import Random

from msgspec import Struct


class Plan(Struct, frozen=True, kw_only=True):
    """A load. Times are in seconds."""

    connections: int = 50
    tokens: int = 100
    """Of an answer."""
    rate: float = 50.0
    """Tokens a second of an answer."""
    think: float = 1.0
    """From an answer's end to the next message, on average: from half of it to one and a half."""
    interrupts: float = 0.1
    """The share of the answers that are stopped, at any moment of theirs."""
    drops: float = 0.05
    """The share of the answers during which the connection is lost, at any moment of theirs."""
    seconds: float = 10.0
    """How long it is measured."""
    warm: float = 2.0
    """How long it has been going by then: the connections open and say their first messages in this time."""
    patience: float = 5.0
    """How long it waits at the end for what is still to come."""
    message: str | None = None
    """What is said; None asks the load's own agent for `tokens` at `rate`."""
    seed: int = 1

    @property
    def answer(self) -> float:
        """How long an answer takes that nobody stops."""
        return self.tokens / self.rate

    @property
    def text(self) -> str:
        """The message."""
        return self.message if self.message is not None else f"pace {self.rate:g} {self.tokens}"

    @property
    def exact(self) -> bool:
        """Whether each token's moment is known, and how many there are."""
        return self.message is None


class Step(Struct, frozen=True):
    """One message of a user."""

    due: float
    """From the load's beginning on."""
    stop: float | None = None
    """How long after the message it is stopped."""
    drop: float | None = None
    """How long after the message the connection is lost."""


def steps(plan: Plan, user: int) -> Iterator[Step]:
    """What the user with this number does, for ever."""
    dice = Random(f"{plan.seed} {user}")  # noqa: S311 - it has to be repeatable, not unguessable
    # Where each user begins is drawn from a whole cycle: all at once would be due together for ever.
    due = dice.random() * (plan.answer + plan.think)
    while True:
        takes = plan.answer
        stop = drop = None
        if dice.random() < plan.interrupts:
            stop = takes = dice.random() * plan.answer
        if dice.random() < plan.drops:
            drop = dice.random() * takes
        yield Step(due, stop, drop)
        due += takes + (0.5 + dice.random()) * plan.think


def offered(plan: Plan, seconds: float) -> int:
    """How many tokens are due in the first `seconds` that are measured, if all goes as planned. Of an `exact` plan."""
    begin, end, period = plan.warm, plan.warm + seconds, 1 / plan.rate
    total = 0
    for user in range(plan.connections):
        for step in steps(plan, user):
            if step.due >= end:
                break
            length = plan.tokens if step.stop is None else min(plan.tokens, ceil(step.stop / period))
            first = max(0, ceil((begin - step.due) / period))
            last = min(length, ceil((end - step.due) / period))
            total += max(0, last - first)
    return total
