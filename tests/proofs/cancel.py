"""A cancellation at every step of the event loop, in everything that a run, a client or the process can be in.

The one rule: how many steps a scene has is found, by going on until it comes to its own end. A case's number is its
scene and its step: 3017 is the fourth scene, cancelled after 17 steps. Once all scenes are swept they are swept again:
those in virtual time with another order of what is ready together, those with sockets and disks every other time.
"""

import asyncio
import gc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from steps import SteppedLoop, SteppedVirtualLoop

from .proof import Course, Disproved, Proof
from .scenes import SCENES, Scene

MOST = 1000
"""Steps that a scene can have; more would be another scene's numbers."""
WHOLE = 3
"""So many times in a row it has to end by itself: the kernel's part in a step differs from time to time."""
SHORT = 2000


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
            course.facts["steps"] += 1
            if whole == WHOLE:
                course.facts[f"in {scene.name}"] = max(course.facts[f"in {scene.name}"], number % MOST + 1 - WHOLE)
                break
        else:
            raise Disproved(f"expected {scene.name} to end within {MOST} steps, got no end")
    return True


def prove(course: Course) -> None:
    gc.collect()
    gc.freeze()  # so that a collection between two scenes looks at theirs alone
    try:
        sweep_all(course)
    finally:
        gc.unfreeze()


def sweep_all(course: Course) -> None:
    """One scene after the other, until the cases are used up."""
    numbers = course.cases()
    first, going = course.seed, True
    while going:
        again, place = divmod(first // MOST, len(SCENES))
        scene = SCENES[place]
        folder = course.folder / str(first // MOST)
        folder.mkdir()
        with asyncio.Runner(
            loop_factory=partial(SteppedVirtualLoop, again or None) if scene.virtual else SteppedLoop
        ) as runner:
            going = runner.run(sweep(scene, folder, course, numbers, first))
        gc.collect()  # what was never awaited or closed is told here
        first = first - first % MOST + MOST
    if course.seed == 0 and course.count >= SHORT:
        unswept = [scene.name for scene in SCENES if not course.facts[f"in {scene.name}"]]
        if unswept:
            raise Disproved(f"expected {course.count} cases to be enough for all scenes, got no end of {unswept}")


PROOF = Proof(
    "cancel",
    "Whatever a run, a client or the server is doing, a Stop, a lost client or a cancelled task ends it at any step of "
    "the event loop: nothing swallows it, connections close, no task is left, and the session goes on.",
    "steps",
    short=SHORT,
    long=50_000,
    prove=prove,
)
