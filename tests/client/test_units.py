"""The TypeScript client's own tests, run by node's own runner."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path


def test_the_units_of_the_client(client: Path, record_property: Callable[[str, object], None]) -> None:
    files = sorted(str(path) for path in (client / "build").glob("*.test.js"))
    command = ["node", "--test", "--test-reporter=tap", "--experimental-websocket", *files]
    made = subprocess.run(command, cwd=client, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (count,) = re.findall(r"^# pass (\d+)$", made.stdout, re.MULTILINE)
    assert int(count) > 100
    record_property("facts", f"{count} tests of the TypeScript client passed in node")
