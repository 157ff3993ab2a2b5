"""What has to be true now: the step `assert`.

The one rule: it changes nothing; and it waits only where the step says `within`, until it holds.
"""

import asyncio
from typing import Any

from ..testing.invariants import Broken
from .client import Client
from .judge import joined
from .patterns import matches
from .stage import Stage
from .steps import DEFAULT, Assert, Checks, Span
from .waiting import Failed, name_of, text_of

LOOK_S = 0.02
"""Between two looks whether it holds."""


async def check(stage: Stage, step: Assert) -> None:
    """Raise `Failed`, or `Broken`, where it does not hold in time."""
    due = stage.clock() + step.within * stage.target.patience
    while True:
        try:
            _look(stage, step)
        except (Failed, Broken):
            if stage.clock() >= due:
                raise
        else:
            return
        await asyncio.sleep(LOOK_S)


def _look(stage: Stage, step: Assert) -> None:
    if not isinstance(step.assert_, Checks):
        for client in stage.clients.values():
            client.judge.check(anew=True)
        return
    checks = step.assert_
    if checks.time is not None:
        _time(stage, checks.time)
    for same, values in ((True, checks.equal), (False, checks.different)):
        filled: list[Any] = stage.fill(values) if values is not None else []
        if any((one == other) is not same for i, one in enumerate(filled) for other in filled[:i]):
            raise Failed(f"expected {'the same' if same else 'no two alike'}, got {filled}")
    if step.by != DEFAULT or DEFAULT in stage.clients:
        _client(stage, stage.client(step.by), checks)


def _client(stage: Stage, client: Client, checks: Checks) -> None:
    if checks.invariants or checks.over:
        client.judge.check(over=checks.over, anew=True)
    run = stage.fill(checks.run)
    for what, wanted in (("content", checks.text), ("thinking", checks.thinking)):
        if wanted is not None and not matches(stage.fill(wanted), got := text_of(client, run, what)):
            raise Failed(f"expected the {what} {stage.fill(wanted)!r}, got {got!r}", client)
    for kind, wanted in (checks.count or {}).items():
        number = sum(got.frame["type"] == kind for got in client.frames)
        if not matches(stage.fill(wanted), number):
            raise Failed(f"expected {wanted} of `{kind}`, got {number}", client)
    if checks.open is not None and checks.open is not client.open:
        raise Failed(f"expected the connection to be {'open' if checks.open else 'closed'}, got the other", client)
    if checks.order is not None:
        frames = iter([got.frame for got in client.frames])
        for pattern in map(stage.pattern, checks.order):
            if not any(matches(pattern, frame) for frame in frames):
                raise Failed(f"expected {name_of(pattern)} in its place among {list(checks.order)}, got none", client)
    if checks.same_as is not None:
        _same(client, stage.client(checks.same_as))


def _same(client: Client, other: Client) -> None:
    ours, theirs = joined(client.judge.events), joined(other.judge.events)
    for here, there in zip(ours, theirs, strict=False):
        if here != there:
            raise Failed(f"expected the same as {other.name} has, {there}, got {here}", client)
    if len(ours) != len(theirs):
        raise Failed(f"expected {len(theirs)} entries, as {other.name} has, got {len(ours)}", client)


def _time(stage: Stage, span: Span) -> None:
    took = stage.when(span.end) - stage.when(span.start)
    between = f"from {span.start} to {span.end or 'now'}"
    most = None if span.most is None else span.most * stage.target.patience
    if most is not None and took > most:
        raise Failed(f"expected at most {most:g} s {between}, got {took:.3f} s")
    if span.least is not None and took < span.least:
        raise Failed(f"expected at least {span.least:g} s {between}, got {took:.3f} s")
