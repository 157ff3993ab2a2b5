"""The TypeScript client's own tests, and those of the page, run by node's own runner."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path


def run(files: Path, *flags: str) -> int:
    """How many tests passed, in all files of a folder."""
    found = sorted(str(path) for path in files.glob("*.test.*js"))
    command = ["node", "--test", "--test-reporter=tap", *flags, *found]
    made = subprocess.run(command, cwd=files, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (count,) = re.findall(r"^# pass (\d+)$", made.stdout, re.MULTILINE)
    return int(count)


def test_the_units_of_the_client(client: Path, record_property: Callable[[str, object], None]) -> None:
    count = run(client / "build", "--experimental-websocket")
    assert count > 100
    record_property("facts", f"{count} tests of the TypeScript client passed in node")


def test_the_units_of_the_page(page: Path) -> None:
    assert run(page / "build") >= 5
