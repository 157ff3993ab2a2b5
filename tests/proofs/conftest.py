"""Proofs that take their time are begun with the tests, and asked for their outcome at the end."""

import pytest

from .background import Background
from .proof import Proof

RUNNING: pytest.StashKey[dict[str, Background]] = pytest.StashKey()


def _slow(item: pytest.Item) -> Proof | None:
    """The proof that this item is about, where it runs in the background."""
    proof = (
        item.callspec.params.get("proof") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )
    return proof if isinstance(proof, Proof) and proof.background else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _slow(item) is not None)


def pytest_collection_finish(session: pytest.Session) -> None:
    running = session.config.stash.setdefault(RUNNING, {})
    if session.config.option.collectonly:
        return
    for proof in filter(None, map(_slow, session.items)):
        running[proof.name] = Background(proof)


def pytest_sessionfinish(session: pytest.Session) -> None:
    for background in session.config.stash.setdefault(RUNNING, {}).values():
        background.end()


@pytest.fixture
def background(request: pytest.FixtureRequest) -> dict[str, Background]:
    """The proofs that were begun with the tests, by name."""
    return request.config.stash[RUNNING]
