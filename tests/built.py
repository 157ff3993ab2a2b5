"""The TypeScript below `web/`, built for tests."""

import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[1] / "web"


def built(folder: Path) -> Path:
    """The folder, its package and its tests built; without node and npm the test is skipped, and says so."""
    npm = shutil.which("npm")
    if npm is None or not (WEB / "node_modules").is_dir():
        pytest.skip("the tests of the TypeScript client need node and npm, and what `.ci/node` installs")
    build = [npm, "run", "--silent", "build:test"]
    made = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder
