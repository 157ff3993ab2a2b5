"""What a load came to, as data: what `agent-ws bench --json` writes.

The one rule: a figure is shown with how many times it was measured, and a ratio with both of its sides in the same run.
"""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

from msgspec import Struct

from .histogram import Histogram
from .plan import Plan, offered
from .run import Outcome, Tick
from .tally import Figure

LIMITS = {
    "too_many_connections": "the server lets one address have fewer connections (serve --address-connections N)",
    "too_many_sessions": "the server lets one address begin 200 sessions at once and 5 a second: let the users come "
    "slowly (--warm), or give a server of your own other limits (Settings)",
}
"""What to do about a limit of a server's that all users of a load share, because they have one address."""
BUSY = 0.8
"""Of a core: beyond it a process of users is late itself."""
OWN_S = 0.02
"""The same, for how late it was to send."""


class Times(Struct, frozen=True):
    """One figure, in milliseconds. Of the pauses between tokens each percentile is of the time, not of the pauses."""

    n: int
    p50: float
    p90: float
    p99: float
    max: float
    curve: list[tuple[float, float]] = []
    """Shares, and the milliseconds within which they are."""


class Result(Struct, kw_only=True):
    """One server under the load."""

    name: str
    title: str
    seconds: float
    times: dict[Figure, Times]
    counts: dict[str, int]
    faults: dict[str, int]
    tokens_s: float
    bytes_s: float
    share: float | None = None
    """Of the tokens that were due, how many came while it was measured; None where nobody knows how many were due."""
    us_token: float | None = None
    """Microseconds of the server's processor time for a token."""
    cpu: float | None = None
    """Of a core, by the server; None where it is not on this machine."""
    rss: float | None = None
    """MiB of the server at most."""
    busy: float
    """Of a core, by the busiest process of users."""
    ticks: list[Tick]


class Ceiling(Struct, frozen=True):
    """What the generator itself could take, measured against a server that does nothing."""

    tokens_s: float
    """Tokens a second in frames of their own, if each of its processes had a core."""
    us_token: float
    """Microseconds of its processor time for a token."""


class Report(Struct, kw_only=True):
    """A run of `agent-ws bench`."""

    agent_ws: str
    made: str
    machine: str
    url: str
    plan: Plan
    workers: int
    results: list[Result]
    """The server's first, then its peers'."""
    ceiling: Ceiling | None = None
    notes: list[str] = []
    """What who reads it has to know."""
    warnings: list[str] = []
    """Why a figure is not to be taken at its word."""
    cut: bool = False
    """It was ended early."""


def report(url: str, plan: Plan, workers: int) -> Report:
    """An empty one."""
    return Report(
        agent_ws=version("agent-ws"),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        url=url,
        plan=plan,
        workers=workers,
        results=[],
    )


def times(histogram: Histogram) -> Times:
    """A histogram as it is shown."""
    curve = [(share, round(seconds * 1000, 3)) for share, seconds in histogram.curve()]
    p50, p90, p99 = (round(histogram.at(share) * 1000, 3) for share in (0.5, 0.9, 0.99))
    return Times(histogram.n, p50, p90, p99, round(histogram.most * 1000, 3), curve)


def result(name: str, title: str, outcome: Outcome) -> Result:
    """What one server came to."""
    tokens = outcome.tally.counts.get("tokens", 0)
    due = offered(outcome.plan, outcome.seconds) if outcome.plan.exact else 0
    return Result(
        name=name,
        title=title,
        seconds=outcome.seconds,
        times={figure: times(histogram) for figure, histogram in outcome.tally.figures()},
        counts=outcome.tally.counts,
        faults=outcome.tally.faults,
        tokens_s=outcome.tokens,
        bytes_s=outcome.tally.counts.get("bytes", 0) / outcome.seconds if outcome.seconds else 0.0,
        share=tokens / due if due else None,
        us_token=outcome.cpu * outcome.seconds / tokens * 1e6 if outcome.cpu is not None and tokens else None,
        cpu=outcome.cpu,
        rss=outcome.rss,
        busy=max(outcome.busy, default=0.0),
        ticks=outcome.ticks,
    )


def warnings(result: Result) -> list[str]:
    """Why a result is not to be taken at its word."""
    found: list[str] = []
    own = result.times.get("own")
    if result.busy > BUSY:
        found.append(
            f"{result.title}: the generator was busy for {result.busy:.0%} of a core, so its own lateness is in the "
            "figures: more --workers, or fewer --connections"
        )
    if own is not None and own.p99 > OWN_S * 1000:
        found.append(
            f"{result.title}: the generator was {own.p99:.0f} ms late itself (p99): something else has this machine's "
            "processors"
        )
    if (n := result.counts.get("unanswered", 0)) > 0:
        found.append(f"{result.title}: {n} messages had no answer when it ended; they count as long as they had waited")
    found += [hint for code, hint in LIMITS.items() if any(code in fault for fault in result.faults)]
    kinds = ("lost", "doubled")
    return found + [f"{result.title}: {n} tokens {what}" for what in kinds if (n := result.counts.get(what, 0))]
