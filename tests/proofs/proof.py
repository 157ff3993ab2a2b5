"""What a proof is. The one rule: a case is made from its seed and nothing else, so a failure can be repeated alone.

def prove(course: Course) -> None:
    for case in course.cases():
        rng = random.Random(case)
        ...
        course.facts["frames"] += 1
        if got != expected:
            raise Disproved(f"expected {expected}, got {got}")

PROOF = Proof("frames", "Each frame has an answer.", "frames", short=100, long=10_000, prove=prove, parallel=True)
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct


class Disproved(AssertionError):
    """The claim doesn't hold: what was expected, and what came."""


class Unprovable(Exception):
    """This machine lacks what the proof needs: what, and how to get it."""


def _unseen(done: int) -> None:
    del done


class Course:
    """One run of a proof."""

    def __init__(self, *, seed: int, count: int, folder: Path, moved: Callable[[int], None] = _unseen) -> None:
        self.seed = seed
        """The first case's seed; case i has seed + i."""
        self.count = count
        """How many cases."""
        self.folder = folder
        """To write into; thrown away at the end."""
        self.facts: Counter[str] = Counter()
        """What happened, for the report: a proof that tried nothing passes too."""
        self.case: int | None = None
        """The case that is being tried, or that failed."""
        self.done = 0
        """How many cases were tried to their end."""
        self._moved = moved

    @property
    def alone(self) -> bool:
        """A single case is repeated: somebody wants to read how it goes."""
        return self.count == 1

    def cases(self) -> Iterator[int]:
        """The seed of each case. Asking for the next one says that the one before it holds."""
        for case in range(self.seed, self.seed + self.count):
            self.case = case
            yield case
            self.done += 1
            self._moved(self.done)

    @contextmanager
    def at(self, case: int) -> Generator[None]:
        """For cases that are tried side by side: what fails inside belongs to this one."""
        try:
            yield
        except BaseException:
            self.case = case
            raise

    def tell(self, text: str) -> None:
        """A line on how a case goes, for who repeats it alone."""
        if self.alone:
            print(text)  # noqa: T201 - it is asked for


class Proof(Struct, frozen=True):
    """A claim, and how it is proven. In `tests/proofs/NAME.py` it is called PROOF; `registry.py` lists it."""

    name: str
    claim: str
    """One sentence."""
    unit: str
    """What a case is, in the plural: disconnects."""
    short: int
    """How many cases `make test` tries: seconds."""
    long: int
    """How many `make prove` tries."""
    prove: Callable[[Course], None]
    """Raises what is wrong: `Disproved`, or any other exception. Raises `Unprovable` where it can't be tried."""
    parallel: bool = False
    """Ranges of its cases may run in processes of their own, side by side."""
    background: bool = False
    """The short form takes its time and little else: it runs beside the other tests, from their beginning on."""
