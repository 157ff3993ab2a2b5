"""`python -m proofs`: prove what the project claims."""

import argparse
import logging
import sys
from collections.abc import Sequence

import msgspec

from . import report
from .progress import Progress
from .proof import Proof
from .registry import PROOFS
from .runner import Outcome, run


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is a command


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {count}")
    return count


def parse(words: Sequence[str] | None, proofs: Sequence[Proof]) -> argparse.Namespace:
    """The command line."""
    names = [proof.name for proof in proofs]
    parser = argparse.ArgumentParser(prog="python -m proofs", description="Prove what agent_ws claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or some of: {', '.join(names)}")
    parser.add_argument("--long", action="store_true", help="the long form; results.json and PROOFS.md get the result")
    parser.add_argument("--count", type=_count, help="how many cases, instead of those of the form")
    parser.add_argument("--seed", type=int, default=0, help="the first case (default: 0)")
    parser.add_argument("--jobs", type=_count, default=1, help="processes for a proof that can be split (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON, and nothing else")
    parser.add_argument("--list", action="store_true", help="say what is claimed, and prove nothing")
    parser.add_argument("--render", action="store_true", help="make PROOFS.md anew, and prove nothing")
    options = parser.parse_args(words)
    for name in options.names:
        if name not in names:
            parser.error(f"expected one of {', '.join(names)}, got {name!r}")
    if options.long and options.count is not None:
        parser.error("expected --long or --count: a part of the long form is not recorded as the whole")
    return options


def main(words: Sequence[str] | None = None, proofs: Sequence[Proof] = PROOFS) -> int:
    """The command. 0: nothing failed."""
    options = parse(words, proofs)
    chosen = [proof for proof in proofs if not options.names or proof.name in options.names]
    if options.render:
        report.write(proofs, [])
        return 0
    if options.list:
        for proof in chosen:
            _say(f"{proof.name:<14} {proof.claim} ({proof.short:,} {proof.unit}; long: {proof.long:,})")
        return 0
    logging.getLogger().addHandler(logging.NullHandler())  # what a server has to say of its trouble is expected here
    outcomes: list[Outcome] = []
    for proof in chosen:
        count: int = options.count or (proof.long if options.long else proof.short)
        with Progress(proof.name, count) as progress:
            outcome = run(proof, seed=options.seed, count=count, jobs=options.jobs, moved=progress.moved)
        outcomes.append(outcome)
        if not options.json:
            _say(f"{proof.name:<14} {outcome.told()}")
        if options.long:
            report.write(proofs, [outcome])
    if options.json:
        _say(msgspec.json.format(msgspec.json.encode(outcomes), indent=1).decode())
    failed = [outcome.proof for outcome in outcomes if outcome.verdict == "failed"]
    skipped = [outcome.proof for outcome in outcomes if outcome.verdict == "skipped"]
    if not options.json:
        _say(f"{len(outcomes) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
