"""What these tests need beside Python: node, and the client, built once. Without it they are skipped, and say so."""

import shutil
import subprocess
from pathlib import Path

import pytest
from write import ROOT

CLIENT = ROOT / "web" / "client"


@pytest.fixture(scope="session")
def client() -> Path:
    """The folder of the TypeScript client, its tests and helpers built in `build`."""
    return _built(CLIENT)


@pytest.fixture(scope="session")
def page() -> Path:
    """The same of the page."""
    return _built(CLIENT.parent / "chat")


def _built(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None or not (ROOT / "web" / "node_modules").is_dir():
        pytest.skip("the tests of the TypeScript client need node and npm, and what `.ci/node` installs")
    build = [npm, "run", "--silent", "build:test"]
    built = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder
