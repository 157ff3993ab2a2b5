"""aimock as the provider: a server that others wrote, with the wires of OpenAI and of Anthropic.

The one rule: where it can't run the tests are skipped and say why; in CI it has to run. `aimock/fixtures.json` says
what it answers, on either wire.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "aimock"
PROGRAM = FOLDER / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
NODE = (20, 15)
"""What it needs."""


@contextmanager
def aimock() -> Generator[str]:
    """Run it. Yields its address."""
    node = _installed()
    command = [node, PROGRAM, "--port", "0", "--fixtures", FOLDER / "fixtures.json", "--strict", "--chunk-size", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            said = ""
            assert server.stdout is not None
            for line in server.stdout:
                said += line
                if found := re.search(r"listening on (http://\S+)", line):
                    yield found[1]
                    return
            pytest.fail(f"aimock was expected to say where it listens, and said: {said}")
        finally:
            server.terminate()


def _installed() -> str:
    """The node that can run it. Installs it where it is missing."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("SKIPPED: no node and npm here to run aimock with")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    numbers = re.findall("[0-9]+", version)
    if (int(numbers[0]), int(numbers[1])) < NODE:
        pytest.skip(f"SKIPPED: aimock needs node {NODE[0]}.{NODE[1]}, this is {version.strip()}")
    if not PROGRAM.exists():
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            if os.environ.get("CI"):
                pytest.fail(f"aimock could not be installed: {done.stderr}")
            pytest.skip("SKIPPED: aimock could not be installed (npm install in tests/aimock says why)")
    return node
