"""What people see of a load: its course, and its figures as a table.

The one rule: the course goes to the error output, the figures to the output, so that one can be kept without the other.
"""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

from .plan import Plan
from .report import Report, Result
from .tally import FIGURES, Figure, Tally

RATIOS: tuple[Figure, ...] = ("first", "between", "late", "stop")
"""What a peer can have too."""


class Course:
    """A progress bar for each load. Use it as a context manager."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[told]}", table_column=Column(no_wrap=True)),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None
        self._whole = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, title: str, plan: Plan) -> None:
        """A load begins."""
        self._whole = plan.warm + plan.seconds
        self._task = self._progress.add_task(title, total=self._whole, told="")

    def told(self, tally: Tally, seconds: float) -> None:
        """What has been counted by now, `seconds` after its beginning."""
        if self._task is None:
            return
        first = tally.times.get("first")
        faults = sum(tally.faults.values())
        told = f"{min(seconds, self._whole):.0f}/{self._whole:.0f} s, {tally.counts.get('tokens', 0):,} tokens"
        told += f", first p99 {number(first.at(0.99) * 1000)} ms" if first is not None else ""
        told += f", {faults:,} faults" if faults else ""
        self._progress.update(self._task, completed=seconds, told=told)


def show(report: Report) -> None:
    """Print the figures."""
    console = Console(highlight=False)
    plan = report.plan
    asked = f"{plan.tokens} tokens at {plan.rate:g}/s" if plan.exact else f"{plan.message!r}"
    console.print(
        f"\n{report.url}: {plan.connections} connections, answers of {asked}, {plan.think:g} s between them, "
        f"{plan.interrupts:.0%} stopped, {plan.drops:.0%} with a lost connection"
    )
    for result in report.results:
        console.print(_table(result))
        console.print(throughput(result))
        for what, n in sorted(result.faults.items(), key=lambda item: -item[1]):
            console.print(f"  fault: {what}: {n:,} times", markup=False)
    if len(report.results) > 1:
        console.print(_ratios(report.results))
    if (ceiling := report.ceiling) is not None:
        console.print(
            f"\nThe generator: {ceiling.us_token:.1f} µs of a processor for a token, so at most "
            f"{ceiling.tokens_s:,.0f} tokens a second with {report.workers} "
            f"process{'es' if report.workers > 1 else ''}; it was busy for at most "
            f"{max((r.busy for r in report.results), default=0.0):.0%} of a core."
        )
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", markup=False)
    if report.cut:
        console.print("It was ended early: the figures are of the time until then.")


def _table(result: Result) -> Table:
    table = Table(title=f"{result.title}, {result.seconds:.1f} s (times in ms)", title_justify="left")
    table.add_column("")
    for name in ("n", "p50", "p90", "p99", "max"):
        table.add_column(name, justify="right")
    for figure, times in result.times.items():
        row = (f"{times.n:,}", *(number(value) for value in (times.p50, times.p90, times.p99, times.max)))
        table.add_row(FIGURES[figure], *row)
    return table


def throughput(result: Result) -> str:
    """All that is no time, in a line."""
    counts = result.counts
    parts = [
        f"{result.tokens_s:,.0f} tokens/s" + (f" ({result.share:.1%} of what was due)" if result.share else ""),
        f"{result.bytes_s / 1024:,.0f} KiB/s",
        f"{counts.get('messages', 0):,} messages",
        f"{counts.get('stopped', 0):,} stopped",
        f"{counts.get('dropped', 0):,} connections lost on purpose",
    ]
    if resets := counts.get("resets"):
        parts.append(f"{resets:,} copies thrown away (`reset`)")
    if behind := counts.get("behind"):
        parts.append(f"{behind:,} messages said late")
    if result.cpu is not None and result.rss is not None:
        each = f", {result.us_token:.1f} µs a token" if result.us_token is not None else ""
        parts.append(f"server {result.cpu:.0%} of a core{each}, {result.rss:,.0f} MiB")
    return "; ".join(parts)


def _ratios(results: list[Result]) -> Table:
    """The server's figures as parts of its peers': below 1 it is better."""
    ours, *peers = results
    table = Table(title="the server's figure, as a part of its peer's: below 1 is better", title_justify="left")
    table.add_column("")
    for peer in peers:
        table.add_column(peer.title, justify="right")
    for name, values in ratios(ours, peers):
        table.add_row(name, *("" if value is None else f"{value:.2f}" for value in values))
    return table


def ratios(ours: Result, peers: list[Result]) -> list[tuple[str, list[float | None]]]:
    """Each figure that can be compared, with its ratio to each peer's."""
    rows: list[tuple[str, list[float | None]]] = []
    for figure in RATIOS:
        for name in ("p50", "p99"):
            own = ours.times.get(figure)
            values = [_ratio(own, peer.times.get(figure), name) for peer in peers]
            if any(value is not None for value in values):
                rows.append((f"{FIGURES[figure]}, {name}", values))
    rows.append(("processor time for a token", [_part(ours.us_token, peer.us_token) for peer in peers]))
    rows.append(("memory at most", [_part(ours.rss, peer.rss) for peer in peers]))
    return rows


def _ratio(own: object, other: object, name: str) -> float | None:
    return _part(getattr(own, name, None), getattr(other, name, None))


def _part(own: float | None, other: float | None) -> float | None:
    return own / other if own is not None and other else None


def number(value: float) -> str:
    """Milliseconds, with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
