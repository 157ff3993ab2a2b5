"""`python -m bench`: measure, and print the table."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from msgspec import to_builtins
from msgspec.structs import replace

from . import machine
from .measures import MEASURES, Bench, Plan
from .plot import plot
from .profiles import profile
from .report import page, table

QUICK = Plan(rounds=1, seconds=1.0, steps=1, peers=(), connections=300, tries=1)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast agent_ws is, beside other servers.")
    parser.add_argument("--quick", action="store_true", help="a minute instead of a quarter of an hour; no peers")
    parser.add_argument(
        "--only", action="append", choices=MEASURES, metavar="NAME", help=f"one of {', '.join(MEASURES)}"
    )
    parser.add_argument("--rounds", type=int, help="how often each figure is measured; the median counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found (default: bench/results/)")
    parser.add_argument("--publish", action="store_true", help="write what README shows: RESULTS.md and the picture")
    parser.add_argument("--profile", action="store_true", help="show where our server's time goes, and measure nothing")
    options = parser.parse_args()
    machine.pin(machine.LOAD_CORE)
    if len(machine.CORES) == 1:
        _say("Only one core here: server and generator share it, and no ratio means much.")
    if options.profile:
        profile(_say)
        return 0
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    began = time.perf_counter()
    bench = Bench(plan, _say)
    for name in options.only or MEASURES:
        MEASURES[name](bench)
    results = machine.ROOT / "bench" / "results"
    file = options.json or results / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(to_builtins(bench.results), indent=1) + "\n")
    _say(f"\n{table(bench.results)}\n\n{time.perf_counter() - began:.0f} s; all figures: {file}")
    if (picture := plot(bench.results, results)) is not None:
        _say(f"latency against load: {picture}")
    if options.publish:
        (results.parent / "RESULTS.md").write_text(page(bench.results))
        if picture is not None:
            shutil.copy(picture, results.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
