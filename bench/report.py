"""The table: each figure beside its rivals', the ratio, and whether the target was met.

The one rule: a miss is shown as a miss.
"""

import platform
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from .machine import CORES
from .measures import Results
from .servers import PEERS


class Target(Struct, frozen=True):
    """What a figure of ours has to be. `of`: a factor of that server's figure; else a value."""

    factor: float
    of: str = ""


class Row(Struct, frozen=True):
    """One line of the table."""

    key: str
    title: str
    targets: tuple[Target, ...] = ()
    more: bool = False
    """More is better."""


ROWS = (
    Row("streams", "streams of 50 tokens/s", (Target(0.8, "floor"), *(Target(1, peer) for peer in PEERS)), more=True),
    Row("burst1", "never waiting, 1 a tick: tokens per CPU second", (Target(2.2, "stock"),), more=True),
    Row("burst16", "never waiting, 16 a tick: tokens per CPU second", (Target(8, "stock"),), more=True),
    Row("cpu", "CPU for a token at 400 streams, µs", (Target(1.15, "floor"), Target(0.7, "stock"))),
    Row("first_p50", "first token, idle, p50 ms", (Target(0.3),)),
    Row("first_p99", "first token, idle, p99 ms"),
    Row("interrupt_idle_p50", "Stop to answer, idle, p50 ms", (Target(2, "floor"),)),
    Row("interrupt_idle_p99", "Stop to answer, idle, p99 ms"),
    Row("interrupt_loaded_p50", "Stop beside 1,000 streams, p50 ms"),
    Row("interrupt_loaded_p99", "Stop beside 1,000 streams, p99 ms", (Target(3, "floor"),)),
    Row("memory_idle", "memory of an idle session, KiB", (Target(20),)),
    Row("memory_streaming", "memory of a streaming session, KiB", (Target(25),)),
    Row("resume", "resume of 10,000 events, ms", (Target(50),)),
    Row("resume_mixed", "the same, where none can be merged, ms"),
    Row("import", "import agent_ws, s", (Target(0.3),)),
    Row("ready", "command to ready, s", (Target(1),)),
)


def verdicts(row: Row, figures: dict[str, float]) -> list[tuple[str, bool]]:
    """Each target of a row in words, and whether it was met."""
    ours = figures["ours"]
    found: list[tuple[str, bool]] = []
    for target in row.targets:
        if target.of and target.of not in figures:
            continue
        bound = target.factor * (figures[target.of] if target.of else 1)
        sign = ">=" if row.more else "<="
        met = ours >= bound if row.more else ours <= bound
        words = f"{target.factor:g} x {target.of}" if target.of else f"{target.factor:g}"
        if target.of and figures[target.of]:
            words += f": {ours / figures[target.of]:.2f} x"
        found.append((f"{sign} {words}", met))
    return found


def table(results: Results) -> str:
    """All that was measured."""
    names = ["ours", "floor", "stock", *(p for p in PEERS if any(p in f for f in results.figures.values()))]
    lines = [f"{'':<48}" + "".join(f"{name:>12}" for name in names) + "   target, ratio"]
    lines.append("-" * (len(lines[0]) + 20))
    for row in ROWS:
        figures = results.figures.get(row.key)
        if figures is None or "ours" not in figures:
            continue
        cells = "".join(f"{_number(figures[name]) if name in figures else '':>12}" for name in names)
        found = verdicts(row, figures) or [("", True)]
        for i, (words, met) in enumerate(found):
            left = f"{row.title:<48}{cells}" if i == 0 else " " * (48 + 12 * len(names))
            lines.append(f"{left}   {words}{'' if not words else '  met' if met else '  MISS'}")
    lines += [f"skipped {name}: {reason}" for name, reason in results.skipped.items()]
    return "\n".join(lines + _conditions(results))


def page(results: Results) -> str:
    """The table for people who did not run it: where it was measured, and how."""
    return f"""# What was measured

Written by `make bench ARGS=--publish`, on {datetime.now(UTC).date()} ({_processor()}, {len(CORES)} cores, Python
{platform.python_version()}). The server has one core and the generator another; all servers take turns in one run, and
each figure is the median of its rounds. Compare within a line: the machine makes the figures, the ratios are the
servers' own. *floor* is a raw protocol on uvloop that pushes a frame made in advance; *stock* is Starlette's
`send_text` on uvicorn with its defaults, without a log, a resume or a receipt.

```text
{table(results)}
```

![How late a token is, against the number of streams](latency.svg)
"""


def _processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def _conditions(results: Results) -> list[str]:
    """Whether the figures are the server's own, or the machine's, or the generator's."""
    lines: list[str] = []
    answers: dict[str, list[dict[str, float]]] = {}
    for raw in results.raw:
        answers.setdefault(raw["kind"], []).append(raw["answer"])
    if seen := [answer["others_busy"] for kind in answers.values() for answer in kind if "others_busy" in answer]:
        lines.append(f"Other processes took up to {max(seen):.0%} of the server's core during a measurement.")
    if "pace" in answers:
        most = max(answer["generator_busy"] for answer in answers["pace"])
        lines.append(f"The generator was busy for at most {most:.0%} of a paced load.")
    if "burst" in answers:
        most = max(answer["frames_s"] for answer in answers["burst"])
        lines.append(
            f"It took up to {most:,.0f} frames a second at full blast; the floor's figure there is its ceiling."
        )
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
