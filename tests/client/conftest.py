"""What these tests need beside Python: node, and the client, built once. Without it they are skipped, and say so."""

from pathlib import Path

import pytest
from built import WEB, built


@pytest.fixture(scope="session")
def client() -> Path:
    """The folder of the TypeScript client, its tests and helpers built in `build`."""
    return built(WEB / "client")


@pytest.fixture(scope="session")
def page() -> Path:
    """The same of the page."""
    return built(WEB / "chat")
