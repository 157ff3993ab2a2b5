"""A cancellation at every step of the event loop, in everything that a run, a client or the process can be in.

The one rule: how many steps a scene has is found, by going on until it comes to its own end. A case's number is its
scene and its step: 3017 is the fourth scene, cancelled after 17 steps. Once all scenes are swept they are swept again:
those in virtual time with another order of what is ready together, those with sockets and disks every other time.
"""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from steps import SteppedLoop, SteppedVirtualLoop

from . import environments
from .proof import Course, Disproved, Proof
from .scenes import SCENES, Scene

MOST = 1000
"""Steps that a scene can have; more would be another scene's numbers."""
WHOLE = 3
"""So many times in a row it has to end by itself: the kernel's part in a step differs from time to time."""
SHORT = 2700
LONG = 9_000
"""Shared by all the Pythons of the machine."""


async def sweep(scene: Scene, folder: Path, course: Course, numbers: Iterator[int], first: int) -> bool:
    """Cancel it at each step from `first`'s on. False: the cases are used up."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    whole = 0
    async with scene.open(folder) as case:
        for number in range(first, first - first % MOST + MOST):
            if next(numbers, None) is None:
                return False
            with course.at(number):
                try:
                    whole = whole + 1 if await case(number % MOST) else 0
                except Exception as error:
                    raise Disproved(f"{scene.name}, cancelled after {number % MOST} steps: {error!r}") from error
                if complaints:
                    raise Disproved(f"{scene.name}, after {number % MOST} steps: the loop complains: {complaints}")
            course.facts[f"steps on Python {sys.version_info[0]}.{sys.version_info[1]}"] += 1
            if whole == WHOLE:
                course.facts[f"in {scene.name}"] = max(course.facts[f"in {scene.name}"], number % MOST + 1 - WHOLE)
                break
        else:
            raise Disproved(f"expected {scene.name} to end within {MOST} steps, got no end")
    return True


def prove(course: Course) -> None:
    numbers = course.cases()
    others = pythons() if course.count >= LONG else []
    share = course.count // (1 + len(others))
    here = course.count - share * len(others)
    gc.collect()
    gc.freeze()  # so that a collection between two scenes looks at theirs alone
    try:
        sweep_all(course, islice(numbers, here))
    finally:
        gc.unfreeze()
    unswept = [scene.name for scene in SCENES if not course.facts[f"in {scene.name}"]]
    if course.seed == 0 and here >= SHORT and unswept:
        raise Disproved(f"expected {here} cases to be enough for all scenes, got no end of {unswept}")
    for version, interpreter in others:
        elsewhere(course, version, interpreter, share)
        course.facts[f"steps on Python {version}"] += sum(1 for _ in islice(numbers, share))
    next(numbers, None)  # the last one holds


def sweep_all(course: Course, numbers: Iterator[int]) -> None:
    """One scene after the other, until the cases are used up."""
    first, going = course.seed, True
    while going:
        again, place = divmod(first // MOST, len(SCENES))
        scene = SCENES[place]
        if scene.virtual or again % 2 == 0:
            folder = course.folder / str(first // MOST)
            folder.mkdir()
            made = partial(SteppedVirtualLoop, again or None) if scene.virtual else SteppedLoop
            with asyncio.Runner(loop_factory=made) as runner:
                going = runner.run(sweep(scene, folder, course, numbers, first))
            gc.collect()  # what was never awaited or closed is told here
        first = first - first % MOST + MOST


def pythons() -> list[tuple[str, Path]]:
    """The other Pythons of this machine that the project supports."""
    own, oldest = sys.version_info[1], 11
    versions = [f"3.{minor}" for minor in range(oldest, oldest + 9) if minor != own]
    return [(version, found) for version in versions if (found := environments.python(version)) is not None]


def elsewhere(course: Course, version: str, interpreter: Path, count: int) -> None:
    """The same on another Python, in an environment of its own."""
    words = ("-m", "proofs", "cancel", "--json", "--seed", str(course.seed), "--count", str(count))
    paths = os.pathsep.join((str(environments.ROOT / "tests"), str(environments.ROOT)))
    done = subprocess.run(
        [environments.for_tests(interpreter), *words],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        [outcome] = msgspec.json.decode(done.stdout)
    except ValueError:
        raise Disproved(f"on Python {version}: expected an outcome, got {done.stdout[-1000:]}") from None
    if outcome["verdict"] != "passed":
        course.case = outcome.get("case")
        raise Disproved(f"on Python {version} ({interpreter}): {outcome['why']}\n{outcome.get('trace', '')}")


PROOF = Proof(
    "cancel",
    "Whatever a run, a client or the server is doing, a Stop, a lost client or a cancelled task ends it at any step of "
    "the event loop: nothing swallows it, connections close, no task is left, and the session goes on.",
    "steps",
    short=SHORT,
    long=LONG,
    prove=prove,
)
