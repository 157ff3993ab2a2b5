"""The memory of sessions that were left."""

import stat
from pathlib import Path

import pytest

from agent_ws.terminal.kept import MOST, Kept, find, keep, place, read


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_a_session_is_found_by_its_name_and_the_newest_without_one() -> None:
    keep("http://a", "s1", "t1")
    keep("http://a", "s2", "t2")
    keep("http://b", "s3", None)
    assert find("http://a", "s1") == Kept("http://a", "s1", "t1")
    assert find("http://a", None) == Kept("http://a", "s2", "t2")
    assert find("http://b", None) == Kept("http://b", "s3")
    assert find("http://b", "s1") is None
    keep("http://a", "s1", "t1")
    assert find("http://a", None) == Kept("http://a", "s1", "t1"), "it was used last"
    assert len(read()) == 3


def test_the_file_is_its_owners_alone() -> None:
    keep("http://a", "s1", "t1")
    assert stat.S_IMODE(place().stat().st_mode) == 0o600
    assert stat.S_IMODE(place().parent.stat().st_mode) == 0o700
    assert [file.name for file in place().parent.iterdir()] == ["sessions.json"]


def test_the_oldest_is_forgotten() -> None:
    for n in range(MOST + 5):
        keep("http://a", f"s{n}", None)
    assert [kept.session for kept in read()] == [f"s{n}" for n in range(5, MOST + 5)]


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'[{"x":' + b"[" * 100_000])
def test_a_file_that_is_none_is_one_without_sessions(data: bytes) -> None:
    keep("http://a", "s1", "t1")
    place().write_bytes(data)
    assert read() == []
    keep("http://a", "s2", "t2")
    assert [kept.session for kept in read()] == ["s2"]


def test_where_nothing_can_be_written_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "file"))
    keep("http://a", "s1", "t1")
    assert read() == []
