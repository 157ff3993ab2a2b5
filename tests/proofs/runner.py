"""Runs a proof. The one rule: it passes if each of its cases was tried and nothing went wrong, not even unseen."""

import gc
import logging
import multiprocessing
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, cast

from msgspec import Struct
from msgspec.structs import replace

from .proof import Course, Disproved, Proof, Unprovable

if TYPE_CHECKING:
    from sys import UnraisableHookArgs  # exists in the type stubs alone

PARTS = 16
"""Parts for each process, so that none waits long for the others at the end, and progress shows."""

Moved = Callable[[int], None]


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What became of one run of a proof."""

    proof: str
    verdict: Literal["passed", "failed", "skipped"]
    seed: int
    count: int
    """How many cases were asked for."""
    seconds: float = 0.0
    facts: dict[str, int] = {}
    case: int | None = None
    """The case that failed."""
    why: str = ""
    """What failed, in a line; or what this machine lacks."""
    trace: str = ""
    """The traceback of what failed."""

    @property
    def again(self) -> str:
        """The command that repeats what failed, alone."""
        where = f"--seed {self.seed} --count {self.count}" if self.case is None else f"--seed {self.case} --count 1"
        return f"PYTHONPATH=tests python -m proofs {self.proof} {where}"

    def told(self) -> str:
        """All there is to say, for a reader at a terminal."""
        match self.verdict:
            case "passed":
                return f"passed, {self.count:,} from seed {self.seed} in {self.seconds:,.1f} s: {said(self.facts)}"
            case "skipped":
                return f"SKIPPED: {self.why}"
            case "failed":
                what = "" if self.case is None else f" at case {self.case}"
                return f"FAILED{what}: {self.why}\n{self.trace}again: {self.again}"


def said(facts: dict[str, int]) -> str:
    """Facts in a line, the most frequent first."""
    return ", ".join(f"{count:,} {what}" for what, count in Counter(facts).most_common() if count)


def run(proof: Proof, *, seed: int, count: int, jobs: int = 1, moved: Moved | None = None) -> Outcome:
    """Try `count` cases of a proof, and say what became of it. Raises nothing but what stops the program."""
    began = time.perf_counter()
    if jobs > 1 and proof.parallel:
        outcome = _side_by_side(proof, seed, count, jobs, moved)
    else:
        outcome = _part(proof, seed, count, moved)
    return replace(outcome, seed=seed, count=count, seconds=round(time.perf_counter() - began, 1))


def _part(proof: Proof, seed: int, count: int, moved: Moved | None = None) -> Outcome:
    outcome = Outcome(proof.name, "passed", seed, count)
    with TemporaryDirectory(prefix=f"proof-{proof.name}-") as folder:
        course = Course(seed=seed, count=count, folder=Path(folder), **({"moved": moved} if moved else {}))
        try:
            with _nothing_unseen():
                proof.prove(course)
            if course.done != count:
                course.case = None
                raise Disproved(f"expected {count} cases to be tried, got {course.done}")  # noqa: TRY301 - as any other
        except Unprovable as lack:
            return replace(outcome, verdict="skipped", why=str(lack))
        except Exception as error:  # noqa: BLE001 - whatever is wrong disproves the claim
            leaf = _leaf(error)
            why = str(leaf) if isinstance(leaf, AssertionError) else f"{type(leaf).__name__}: {leaf}"
            trace = "".join(traceback.format_exception(error))
            return replace(outcome, verdict="failed", case=course.case, why=why, trace=trace, facts=dict(course.facts))
    return replace(outcome, facts=dict(course.facts))


def _leaf(error: BaseException) -> BaseException:
    """What really went wrong, where task groups have wrapped it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _child(proof: Proof, seed: int, count: int) -> Outcome:
    logging.getLogger().addHandler(logging.NullHandler())
    return _part(proof, seed, count)


def _side_by_side(proof: Proof, seed: int, count: int, jobs: int, moved: Moved | None) -> Outcome:
    size = max(1, -(-count // (jobs * PARTS)))
    starts = range(seed, seed + count, size)
    facts: Counter[str] = Counter()
    done = 0
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [pool.submit(_child, proof, start, min(size, seed + count - start)) for start in starts]
        try:
            for part in as_completed(parts):
                outcome = part.result()
                if outcome.verdict != "passed":
                    return outcome
                facts.update(outcome.facts)
                done += outcome.count
                if moved is not None:
                    moved(done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return Outcome(proof.name, "passed", seed, count, facts=dict(facts))


@contextmanager
def _nothing_unseen() -> Generator[None]:
    """A warning is an error; so is what fails where nobody can catch it, as in a `__del__`."""
    unseen: list[str] = []

    def note(what: "UnraisableHookArgs") -> None:
        unseen.append(f"{what.err_msg or 'unseen'}: {what.exc_value!r} in {what.object!r}")

    hook, sys.unraisablehook = sys.unraisablehook, note
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook
    if unseen:
        raise Disproved(f"expected nothing to go wrong unseen, got {unseen}")
