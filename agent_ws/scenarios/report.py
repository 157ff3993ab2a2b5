"""What became of scenarios: for people, for programs, and as JUnit XML, which CI systems read.

The one rule: all three are made of the same outcomes, and nothing that failed is left out of any.
"""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from .player import Failure, Outcome

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}


def line_of(outcome: Outcome) -> str:
    """One outcome, for people."""
    text = f"{MARKS[outcome.result]}  {outcome.script.title}"
    match outcome.result:
        case "skipped":
            return f"{text} ({outcome.skipped})"
        case _:
            return f"{text} ({outcome.seconds:.2f} s)"


def told(outcome: Outcome) -> str:
    """A failure with all that helps; empty where there is none."""
    if outcome.failure is None:
        return ""
    return "\n".join(f"      {line}" for line in _lines(outcome, outcome.failure))


def _lines(outcome: Outcome, failure: Failure) -> list[str]:
    frames = (
        [f"last frames of {failure.client}:", *(f"  {frame}" for frame in failure.frames)] if failure.frames else []
    )
    why = [f"why: {outcome.script.head.why.strip()}"] if outcome.script.head.why else []
    return [f"{outcome.script.path}:{failure.line}: {failure.message}", *frames, *why]


def counted(outcomes: Sequence[Outcome]) -> str:
    """How many of what."""
    numbers = {result: sum(outcome.result == result for outcome in outcomes) for result in MARKS}
    return ", ".join(f"{number} {result}" for result, number in numbers.items() if number) or "nothing played"


def plain(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """For programs."""
    return [
        {
            "scenario": outcome.script.title,
            "file": outcome.script.path,
            "line": outcome.script.line,
            "result": outcome.result,
            "seconds": round(outcome.seconds, 3),
        }
        | ({"promise": outcome.script.head.promise} if outcome.script.head.promise is not None else {})
        | ({"skipped": outcome.skipped} if outcome.skipped else {})
        | (
            {
                "failure": {
                    "line": outcome.failure.line,
                    "message": outcome.failure.message,
                    "client": outcome.failure.client,
                    "frames": list(outcome.failure.frames),
                }
            }
            if outcome.failure is not None
            else {}
        )
        for outcome in outcomes
    ]


def junit(outcomes: Sequence[Outcome], suite: str) -> bytes:
    """As JUnit XML."""
    root = ET.Element("testsuites")
    seconds = sum(outcome.seconds for outcome in outcomes)
    counts = {result: sum(outcome.result == result for outcome in outcomes) for result in ("failed", "skipped")}
    made = ET.SubElement(
        root,
        "testsuite",
        name=suite,
        tests=str(len(outcomes)),
        failures=str(counts["failed"]),
        skipped=str(counts["skipped"]),
        errors="0",
        time=f"{seconds:.3f}",
    )
    for outcome in outcomes:
        case = ET.SubElement(
            made,
            "testcase",
            name=_clean(outcome.script.title),
            classname=_clean(outcome.script.path),
            time=f"{outcome.seconds:.3f}",
        )
        if outcome.failure is not None:
            failed = ET.SubElement(case, "failure", message=_clean(outcome.failure.message))
            failed.text = _clean("\n".join(_lines(outcome, outcome.failure)))
        if outcome.result == "skipped":
            ET.SubElement(case, "skipped", message=_clean(outcome.skipped))
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    """XML 1.0 has no control characters and no halves of a pair, however escaped."""
    return NOT_XML.sub("\ufffd", text)
