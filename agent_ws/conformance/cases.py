"""The cases, in `cases/`: a file for each promise.

The one rule: each has a sentence that no other has, and the promise that it belongs to is its file's.
"""

from functools import cache
from pathlib import Path

from ..scenarios.files import Script, read

FOLDER = Path(__file__).with_name("cases")
PROMISES = {
    1: "Stop means stopped",
    2: "An interrupt can't get lost or hit the wrong run",
    3: "Four gestures, never mixed",
    4: "Exact resume",
    5: "The history is what the user saw",
    6: "Every message has a definite outcome",
    7: "A slow client is neither dropped early nor buffered without end",
    8: "Bad input gets a defined answer",
}


@cache
def cases() -> tuple[Script, ...]:
    """All of them, in the order of the promises."""
    return tuple(script for path in sorted(FOLDER.glob("*.yaml")) for script in read(path))
