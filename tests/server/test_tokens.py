"""The file of bearer tokens: what a line may be, and when a change counts."""

import logging
import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from agent_ws.server.tokens import Tokens, bearer, fresh, moment, parse

CANARY = "canary-token-in-the-file"
HASH = f"sha256:{sha256(b'one').hexdigest()}"
OTHER = f"sha256:{sha256(b'two').hexdigest()}"


def test_each_line_is_a_token() -> None:
    known = parse(f"# people\r\n\r\nalice {HASH}\r\n  b@c.org\t{OTHER}   2027-01-31T12:00:00Z  \n   # no more")
    assert {key: (login.owner, login.expires) for key, login in known.items()} == {
        HASH: ("alice", None),
        OTHER: ("b@c.org", datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()),
    }
    assert [login.id for login in known.values()] == list(known)
    assert parse("") == {}


@pytest.mark.parametrize(
    "line",
    [
        CANARY,
        f"alice {CANARY}",
        f"alice sha256:{CANARY}",
        f"alice {HASH[:-1]}",
        f"alice {HASH}0",
        f"alice {HASH.upper()}",
        f"{HASH}",
        f"{HASH} alice",
        f"alice {HASH} tomorrow",
        f"alice {HASH} 2027-13-01",
        f"alice {HASH} 2027-01-31 12:00:00",
        f"alice smith {HASH}",
        f"{'a' * 129} {HASH}",
        f"a\x07b {HASH}",
    ],
)
def test_a_line_that_is_none_is_named_and_not_quoted(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line 3: expected `NAME sha256:HASH`") as raised:
        parse(f"# people\nbob {OTHER}\n{line}\n")
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_token_has_one_owner() -> None:
    with pytest.raises(ValueError, match="line 2: expected each token once"):
        parse(f"alice {HASH}\nbob {HASH}\n")
    assert len(parse(f"alice {HASH}\nalice {OTHER}\n")) == 2


@pytest.mark.parametrize("expires", [None, datetime(2027, 1, 31, 13, 0, 0, 999, tzinfo=UTC)])
def test_a_fresh_token_is_in_its_line_as_a_hash_only(expires: datetime | None) -> None:
    token, line = fresh("alice", expires)
    assert token not in line
    assert len(token) > 50
    ((key, login),) = parse(line).items()
    assert key == f"sha256:{sha256(token.encode()).hexdigest()}"
    assert login.owner == "alice"
    assert login.expires == (None if expires is None else datetime(2027, 1, 31, 13, tzinfo=UTC).timestamp())
    assert fresh("alice")[0] != token


@pytest.mark.parametrize("owner", ["", "a b", "a\n", "#a", "a\x07", "a" * 129, "\ud800"])
def test_a_name_that_no_line_can_have_gets_no_token(owner: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        fresh(owner)


def test_a_time_without_a_zone_is_utc() -> None:
    noon = datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert moment("2027-01-31T12:00:00") == moment("2027-01-31T14:00:00+02:00") == noon
    assert moment("2027-01-31") == noon.replace(hour=0)


@pytest.mark.parametrize(
    ("fields", "token"),
    [
        (["Bearer x"], "x"),
        (["bearer  x "], "x"),
        ([], None),
        (["Bearer"], None),
        (["Bearer "], None),
        (["x"], None),
        (["Basic x"], None),
        (["Bearer x", "Bearer x"], None),
    ],
)
def test_a_bearer_token_is_one_and_of_that_scheme(fields: list[str], token: str | None) -> None:
    assert bearer(fields) == token


class File:
    """A tokens file, and what its server knows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changes = 0
        self.write(f"alice {HASH}\n")
        self.tokens = Tokens(str(path), 1000)

    def write(self, data: str | bytes) -> None:
        self.path.write_bytes(data.encode() if isinstance(data, str) else data)
        self._changes += 1
        os.utime(self.path, ns=(0, self._changes * 10**9))

    def look(self) -> bool:
        """Look twice, as a second apart."""
        first, second = self.tokens.look(), self.tokens.look()
        assert not first
        return second

    async def who(self, token: str) -> str | None:
        headers = [(b"authorization", f"Bearer {token}".encode())]
        login = await self.tokens(HTTPConnection({"type": "http", "headers": headers}))
        return None if login is None else login.owner


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "tokens")


async def test_a_change_counts_once_the_file_has_rested(file: File) -> None:
    file.look()
    file.write(f"bob {OTHER}\n")
    assert not file.tokens.look()
    assert (await file.who("one"), await file.who("two")) == ("alice", None)
    file.write("")  # it is just being written
    assert not file.tokens.look()
    assert await file.who("one") == "alice"
    file.write(f"bob {OTHER}\n")
    assert file.look()
    assert (await file.who("one"), await file.who("two")) == (None, "bob")
    assert not file.tokens.look()


async def test_a_file_of_an_editor_that_marks_utf_8_is_one(file: File) -> None:
    file.write(f"\ufeffbob {OTHER}\n")
    assert file.look()
    assert await file.who("two") == "bob"


async def test_what_was_written_right_after_the_start_is_read_too(file: File) -> None:
    stat = file.path.stat()
    file.path.write_text(f"carl {HASH}\n"[: stat.st_size].ljust(stat.st_size))  # as long, and by its time as old
    os.utime(file.path, ns=(0, stat.st_mtime_ns))
    assert file.look()
    assert await file.who("one") == "carl"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (f"alice {HASH}\nbob {CANARY}\n", ", line 2: expected `NAME sha256:HASH`"),
        (b"alice \xff", ": expected UTF-8"),
        ("#" * 1001, ": expected at most 1000 bytes"),
    ],
)
async def test_a_broken_file_changes_nothing_and_is_told_once(
    file: File, data: str | bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.look()
    file.write(data)
    assert not file.look()
    assert not file.look()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{file.path}{said}" in record.getMessage()
    assert "go on" in record.getMessage()
    assert CANARY not in record.getMessage()
    assert await file.who("one") == "alice"
    file.write(f"bob {HASH}\n")
    assert file.look()
    assert await file.who("one") == "bob"


async def test_a_file_that_is_gone_changes_nothing_until_it_is_back(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    file.look()
    file.path.unlink()
    assert not file.look()
    assert not file.look()
    (record,) = caplog.records
    assert "can't be read: No such file" in record.getMessage()
    assert await file.who("one") == "alice"
    file.write(f"bob {HASH}\n")
    assert file.look()
    assert await file.who("one") == "bob"


@pytest.mark.parametrize(("data", "said"), [(None, "can't be read"), ("x", "line 1"), (b"\xff", "UTF-8")])
def test_a_server_does_not_start_with_a_file_that_is_none(tmp_path: Path, data: str | bytes | None, said: str) -> None:
    path = tmp_path / "tokens"
    if data is not None:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(ValueError, match=said):
        Tokens(str(path), 1000)
